//! What a group's members tell its leader: whom they hear, how far they are, and whether they go.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt, stream};
use libp2p::PeerId;
use tokio::time::Instant;
use xorum_behaviours::wire::{
    Farewell, HeardPeer, LastLog, MAX_PEERS_IN_MESSAGE, PeerAddrs, PeerAnswer, PeerRequest, ReplicaId, ReplicaNumber,
    Survey, SurveyAnswer,
};

use super::{Host, messenger::LinksMessenger, replica::Shared};
use crate::group::messenger::Messenger;

/// The newest answer of one member.
#[derive(Clone, Debug)]
pub(super) enum Report {
    /// It answered.
    Answered {
        /// What.
        answer: SurveyAnswer,
        /// When.
        at: Instant,
    },
    /// Its replicas up to this number are dead.
    Gone(ReplicaNumber),
}

/// Asks members at once, each within a time; those that do not answer are left out.
pub(super) async fn ask(
    host: &Host,
    shared: &Shared,
    term: u64,
    members: Vec<ReplicaId>,
    about: &[PeerId],
    within: Duration,
) -> BTreeMap<ReplicaId, Report> {
    let peers: Vec<PeerAddrs> = host.book.tell(about.iter().copied().take(MAX_PEERS_IN_MESSAGE));
    let messenger = LinksMessenger(host.links.clone());
    let question = |member: ReplicaId| {
        let survey = Survey { group: shared.group, to: member.number, term, peers: peers.clone() };
        let messenger = messenger.clone();
        async move {
            let report = match messenger.ask(member.peer, PeerRequest::Survey(survey), within).await {
                Ok(PeerAnswer::Survey(answer)) => Report::Answered { answer, at: Instant::now() },
                Ok(PeerAnswer::Gone(number)) => Report::Gone(number),
                _ => return None,
            };
            Some((member, report))
        }
    };
    stream::iter(members).map(question).buffer_unordered(16).filter_map(std::future::ready).collect().await
}

impl Host {
    /// Answers a leader's survey.
    pub(super) async fn answer_survey(&self, survey: Survey) -> PeerAnswer {
        if survey.peers.len() > MAX_PEERS_IN_MESSAGE {
            return PeerAnswer::Refused(format!("a survey about more than {MAX_PEERS_IN_MESSAGE} peers"));
        }
        self.book.learn(&survey.peers);
        if self.going.farewell() == Farewell::Leaving
            && let Some(replica) = self.replica(&survey.group)
        {
            // Whoever hears it may propose the removal at once.
            replica.removals.may_be_proposed();
        }
        let peers = || survey.peers.iter().map(|told| told.peer).filter(|peer| *peer != self.local);
        self.presence.watch(peers());
        let Some(replica) = self.replica(&survey.group).filter(|replica| replica.shared.id.number == survey.to) else {
            return self.gone_or_refused(&survey.group, survey.to);
        };
        let heard = peers()
            .map(|peer| HeardPeer { peer, heard_ms: self.links.heard(&peer).map(|ago| ago.as_millis() as u64) })
            .collect();
        let last_log = replica.shared.last_log();
        let last = |id: crate::group::raft::LogId| LastLog { term: **id.committed_leader_id(), index: id.index };
        PeerAnswer::Survey(SurveyAnswer {
            last_log: last_log.map(last),
            farewell: self.going.farewell(),
            heard,
            leads: self.status().leads,
        })
    }

    /// What to answer about a replica that is not here.
    pub(super) fn gone_or_refused(&self, group: &xorum_behaviours::wire::GroupId, number: ReplicaNumber) -> PeerAnswer {
        match self.storage.dead_number(group) {
            Ok(Some(dead)) if number <= dead => PeerAnswer::Gone(dead),
            Ok(_) => match self.quarantined(group) {
                Some(stopped) if number <= stopped => PeerAnswer::Gone(stopped),
                _ => PeerAnswer::Refused("no such replica here".into()),
            },
            Err(error) => PeerAnswer::Refused(error.to_string()),
        }
    }
}

/// Whether a peer goes: as it told by itself since its newest report, or as that says; one that said nothing stays. What
/// was told is believed for a while: whoever went may be back.
pub(super) fn farewell(report: Option<&Report>, told: Option<(Farewell, Instant)>, believed_for: Duration) -> Farewell {
    match (report, told.filter(|(_, at)| at.elapsed() < believed_for)) {
        (Some(Report::Answered { at, answer }), Some((told, told_at))) if *at < told_at => {
            if answer.farewell == Farewell::Stays { told } else { answer.farewell }
        }
        (Some(Report::Answered { answer, .. }), _) => answer.farewell,
        (_, Some((told, _))) => told,
        _ => Farewell::Stays,
    }
}
