//! Looks at several things until all of them are stable, and says in lines how they come along. What they are, the caller knows. Shell.

use std::collections::BTreeMap;

use anyhow::Result;

use super::settling::Patience;
use crate::output;

/// How far one is, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Stable(String),
    Underway(String),
    /// There is no use in waiting.
    Over(String),
}

/// What became of the wait for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// All are stable.
    Stable,
    /// There is no use in waiting for one of them, which was said.
    InVain,
    /// The time is over, and these are not stable.
    Late(Vec<usize>),
}

/// Waits until all that have these names are stable: `look` says how far the one at a place is.
///
/// # Errors
/// If a look fails.
pub(super) async fn until_stable(
    names: &[String],
    patience: Patience,
    mut look: impl AsyncFnMut(usize) -> Result<Progress>,
) -> Result<Ended> {
    let mut told = BTreeMap::<usize, String>::new();
    let mut open: Vec<usize> = (0..names.len()).collect();
    loop {
        let mut unsettled = vec![];
        for index in open {
            let name = &names[index];
            let how = match look(index).await? {
                Progress::Stable(how) => how,
                Progress::Underway(how) => {
                    unsettled.push(index);
                    how
                }
                Progress::Over(why) => {
                    output::complain(&format!("{name}: {why}"));
                    return Ok(Ended::InVain);
                }
            };
            if told.get(&index) != Some(&how) {
                output::line(&format!("{name}: {how}"))?;
                told.insert(index, how);
            }
        }
        if unsettled.is_empty() {
            return Ok(Ended::Stable);
        }
        if patience.is_over() {
            return Ok(Ended::Late(unsettled));
        }
        open = unsettled;
        patience.pause().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn names() -> Vec<String> {
        ["web", "db"].map(str::to_owned).to_vec()
    }

    #[tokio::test]
    async fn what_is_stable_is_not_looked_at_again_and_what_is_not_is_late_once_the_time_is_over() {
        let (names, mut looks) = (names(), vec![]);
        let patience = Patience::of(Duration::from_millis(50));
        let ended = until_stable(&names, patience, async |index| {
            looks.push(index);
            Ok(match index {
                0 => Progress::Stable("stable".to_owned()),
                _ => Progress::Underway("0 of 1 tasks run".to_owned()),
            })
        });
        assert_eq!(ended.await.expect("looks"), Ended::Late(vec![1]));
        assert!(
            looks.starts_with(&[0, 1]) && looks[1..].iter().all(|index| *index == 1),
            "{looks:?}"
        );
    }

    #[tokio::test]
    async fn nothing_is_waited_for_once_one_cannot_become_stable() {
        let (names, mut looks) = (names(), 0);
        let ended = until_stable(&names, Patience::of(Duration::from_secs(60)), async |_| {
            looks += 1;
            Ok(Progress::Over("is being deleted".to_owned()))
        });
        assert_eq!(ended.await.expect("looks"), Ended::InVain);
        assert_eq!(looks, 1);
        let none = until_stable(&[], Patience::of(Duration::ZERO), async |_| panic!("there is none"));
        assert_eq!(none.await.expect("nothing fails"), Ended::Stable);
    }
}
