//! Waiting for conditions.

use std::{future::Future, time::Duration};

use anyhow::{Result, anyhow};
use tokio::time::{sleep, timeout};

/// Between two looks at a condition.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Asks again and again until there is an answer. What is asked may itself take time: it is cut off at the deadline.
///
/// # Errors
/// When there is none within `within`; the error says what was waited for.
pub async fn until<T, F, Fut>(what: &str, within: Duration, mut condition: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let answer = async {
        loop {
            if let Some(answer) = condition().await {
                return answer;
            }
            sleep(BETWEEN_LOOKS).await;
        }
    };
    timeout(within, answer).await.map_err(|_| anyhow!("waited {within:?} in vain until {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_answer_is_what_the_condition_gave_first() {
        let mut looks = 0;
        let third = || {
            looks += 1;
            std::future::ready((looks == 3).then_some(looks))
        };
        assert_eq!(until("it is the third", Duration::from_secs(30), third).await.ok(), Some(3));
    }

    #[tokio::test]
    async fn a_condition_that_hangs_is_cut_off_and_named() {
        let hangs = std::future::pending::<Option<()>>;
        let error = until("pigs fly", Duration::from_millis(30), hangs).await.expect_err("it hangs");
        assert!(error.to_string().ends_with("until pigs fly"), "{error}");
    }
}
