//! What the answer to one copy of a request means for the next step. Pure.

use xorum_behaviours::{
    links::RequestError,
    wire::{OpAnswer, Refusal, Route},
};

/// Where the next copy goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// To whom the newest descriptor names, at once.
    Follow,
    /// To another voter, after a pause.
    Elsewhere,
    /// To the same peer, after a pause.
    Again,
}

/// Why a copy had no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The group has no leader that is known here.
    NoLeader,
    /// The peer asked cannot be reached, or does not answer.
    Unreachable(String),
    /// Somebody has as much work as may be.
    Busy,
    /// The group refused it for a reason that a copy of a new name, or a later copy, may not meet.
    Refused(Refusal),
    /// The peer's answer is none to this request.
    Nonsense,
}

/// What the answer to one copy means.
#[expect(clippy::large_enum_variant, reason = "made and taken apart at once, once an operation")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The answer to the request.
    Done(OpAnswer),
    /// The request can never be served.
    Fail(Refusal),
    /// The peer says that the request breaks a rule.
    Invalid(String),
    /// Another copy may be sent.
    Retry {
        /// Where to.
        next: Next,
        /// May this copy have been proposed, with what became of it unknown?
        perhaps_proposed: bool,
        /// Would a copy of another name fare better?
        rename: bool,
        /// What stood in the way.
        obstacle: Obstacle,
    },
}

impl Step {
    const fn retry(next: Next, obstacle: Obstacle) -> Self {
        Self::Retry { next, perhaps_proposed: false, rename: false, obstacle }
    }
}

/// Judges the answer to one copy; the route to learn, if it bears one, is returned beside.
pub fn judge(answer: Result<OpAnswer, RequestError>) -> (Step, Option<Route>) {
    match answer {
        Ok(OpAnswer::NotLeader { route }) => {
            let next = match &route {
                Some(route) if route.descriptor.leader.is_some() => Next::Follow,
                _ => Next::Elsewhere,
            };
            (Step::retry(next, Obstacle::NoLeader), route)
        }
        Ok(OpAnswer::Refused { refusal, route, .. }) => (refused(refusal), route),
        Ok(OpAnswer::Busy) => (Step::retry(Next::Again, Obstacle::Busy), None),
        Ok(OpAnswer::Invalid(why)) => (Step::Invalid(why), None),
        Ok(OpAnswer::Unknown) => {
            let obstacle = Obstacle::NoLeader;
            let step = Step::Retry { next: Next::Elsewhere, perhaps_proposed: true, rename: false, obstacle };
            (step, None)
        }
        Ok(answer) => (Step::Done(answer), None),
        Err(error) => {
            let perhaps_proposed = error.was_sent();
            let obstacle = Obstacle::Unreachable(error.to_string());
            (Step::Retry { next: Next::Elsewhere, perhaps_proposed, rename: false, obstacle }, None)
        }
    }
}

/// A refused copy had no effect and will have none; only what other copies may do stays open.
fn refused(refusal: Refusal) -> Step {
    match refusal {
        Refusal::TooLarge | Refusal::GroupTooLarge => Step::Fail(refusal),
        Refusal::WrongGroup => Step::retry(Next::Follow, Obstacle::Refused(refusal)),
        Refusal::Sealed | Refusal::TableFull => Step::retry(Next::Again, Obstacle::Refused(refusal)),
        Refusal::BelowWatermark | Refusal::Expired | Refusal::ExpiresTooFarAhead => Step::Retry {
            next: Next::Again,
            perhaps_proposed: false,
            rename: true,
            obstacle: Obstacle::Refused(refusal),
        },
    }
}
