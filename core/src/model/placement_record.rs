//! How a task's host was chosen, in few bytes: every task keeps it for as long as it is remembered, and there may be 100,000. Pure.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::ContainerInstanceId;

/// The form of the bytes that is written now; they begin with it.
const FORM: u8 = 2;

/// Manners that there may be: a position and a manner are one number.
const MANNERS: u64 = 4;

/// Scores of a record at most, and filters: what bounds the reading of one.
const MAX_ENTRIES: u64 = 64;

/// In what manner the tasks of a plan are placed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Manner {
    /// One by one, in the order in which they are asked for, as [`place`](crate::placement::place) does.
    #[default]
    OneByOne,
    /// All together, as [`place_together`](crate::placement::place_together) does.
    Together,
    /// One by one, the next one always of the group that has the smallest share: what [`Manner::Together`] comes to where not all can be placed.
    InTurns,
}

impl Manner {
    /// As records have it.
    const ALL: [Self; 3] = [Self::OneByOne, Self::Together, Self::InTurns];
}

/// A [`RecordedPlacement`] as a task keeps it; equal ones need not be the same bytes in memory, but those of one task's versions are.
#[derive(Clone, PartialEq, Eq)]
pub struct PlacementRecord(Arc<[u8]>);

/// What placement found when it chose a host: enough to say later how many hosts were left when, and by which term the host was chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordedPlacement {
    /// The seed of the plan that the choice was part of.
    pub seed: u64,
    /// In what manner the tasks of the plan were placed.
    pub manner: Manner,
    /// The task's place among those of the plan.
    pub position: u32,
    /// Hosts that the task could go to at all.
    pub considered: u32,
    /// Hosts that a filter refused and none before it did, by the filter's code; filters that refused none are left out.
    pub refused: Vec<(u8, u32)>,
    /// What was said of the host chosen.
    pub chosen: RecordedScore,
    /// The next best host and what was said of it, if there was one. It has as many ranks.
    pub runner_up: Option<(ContainerInstanceId, RecordedScore)>,
}

/// What was said of one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordedScore {
    /// What each strategy said, in the order of the task's strategies; lower is better.
    pub ranks: Vec<u64>,
    /// Tasks that were on the host.
    pub tasks: u32,
}

/// Text that is no placement record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no placement record that this program can read")]
pub struct InvalidPlacementRecord(String);

impl PlacementRecord {
    /// The record of a placement.
    #[must_use]
    pub fn of(placement: &RecordedPlacement) -> Self {
        let mut bytes = Vec::with_capacity(64);
        bytes.push(FORM);
        bytes.extend(placement.seed.to_le_bytes());
        put(
            &mut bytes,
            u64::from(placement.position) * MANNERS + placement.manner as u64,
        );
        put(&mut bytes, u64::from(placement.considered));
        put(&mut bytes, placement.refused.len() as u64);
        for (filter, hosts) in &placement.refused {
            bytes.push(*filter);
            put(&mut bytes, u64::from(*hosts));
        }
        put(&mut bytes, placement.chosen.ranks.len() as u64);
        put_score(&mut bytes, &placement.chosen);
        if let Some((host, score)) = &placement.runner_up {
            bytes.extend(host.0.to_le_bytes());
            put_score(&mut bytes, score);
        }
        Self(bytes.into())
    }

    /// What was recorded.
    ///
    /// # Panics
    /// Never: a record is made of what can be read.
    #[must_use]
    pub fn read(&self) -> RecordedPlacement {
        read(&self.0).expect("a record is made of what can be read")
    }
}

impl fmt::Display for PlacementRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PlacementRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PlacementRecord {
    type Err = InvalidPlacementRecord;

    fn from_str(text: &str) -> Result<Self, InvalidPlacementRecord> {
        let digits = text.as_bytes().chunks(2);
        let digit = |byte: &u8| {
            char::from(*byte)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        let bytes = digits.map(|pair| match pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        });
        let bytes: Option<Arc<[u8]>> = bytes.collect();
        let read = bytes.filter(|bytes| read(bytes).is_some());
        read.map(Self).ok_or_else(|| InvalidPlacementRecord(text.to_owned()))
    }
}

impl Serialize for PlacementRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string())
    }
}

impl<'de> Deserialize<'de> for PlacementRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Seven bits a byte, the lowest first; the last byte is below 128.
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while let Some(more) = Some(number >> 7).filter(|more| *more > 0) {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number = more;
    }
    bytes.push(number.to_le_bytes()[0]);
}

fn put_score(bytes: &mut Vec<u8>, score: &RecordedScore) {
    score.ranks.iter().for_each(|rank| put(bytes, *rank));
    put(bytes, u64::from(score.tasks));
}

fn read(bytes: &[u8]) -> Option<RecordedPlacement> {
    let mut rest = bytes.strip_prefix(&[FORM])?;
    let seed = u64::from_le_bytes(*take_array(&mut rest)?);
    let place = take(&mut rest)?;
    let manner = Manner::ALL
        .into_iter()
        .find(|manner| *manner as u64 == place % MANNERS)?;
    let position = u32::try_from(place / MANNERS).ok()?;
    let considered = take_u32(&mut rest)?;
    let filters = take(&mut rest).filter(|count| *count <= MAX_ENTRIES)?;
    let mut refused = vec![];
    for _ in 0..filters {
        let [filter] = *take_array(&mut rest)?;
        refused.push((filter, take_u32(&mut rest)?));
    }
    let ranks = take(&mut rest).filter(|count| *count <= MAX_ENTRIES)?;
    let chosen = take_score(&mut rest, ranks)?;
    let runner_up = match rest.is_empty() {
        true => None,
        false => {
            let host = ContainerInstanceId(u128::from_le_bytes(*take_array(&mut rest)?));
            Some((host, take_score(&mut rest, ranks)?))
        }
    };
    rest.is_empty().then_some(RecordedPlacement {
        seed,
        manner,
        position,
        considered,
        refused,
        chosen,
        runner_up,
    })
}

fn take_array<'b, const N: usize>(rest: &mut &'b [u8]) -> Option<&'b [u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(taken)
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..u64::BITS).step_by(7) {
        let [byte] = *take_array(rest)?;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    take(rest).and_then(|number| u32::try_from(number).ok())
}

fn take_score(rest: &mut &[u8], ranks: u64) -> Option<RecordedScore> {
    let ranks: Option<Vec<u64>> = (0..ranks).map(|_| take(rest)).collect();
    Some(RecordedScore {
        ranks: ranks?,
        tasks: take_u32(rest)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement() -> RecordedPlacement {
        let score = |ranks: &[u64], tasks| RecordedScore {
            ranks: ranks.to_vec(),
            tasks,
        };
        RecordedPlacement {
            seed: 0xfeed_0000_0000_0002,
            manner: Manner::InTurns,
            position: 999,
            considered: 10_000,
            refused: vec![(1, 3), (5, 200)],
            chosen: score(&[2, u64::MAX], 7),
            runner_up: Some((ContainerInstanceId(u128::MAX - 1), score(&[3, 0], u32::MAX))),
        }
    }

    #[test]
    fn record_is_read_as_what_it_was_made_of() {
        let alone = RecordedPlacement {
            runner_up: None,
            ..placement()
        };
        for placement in [placement(), alone, RecordedPlacement::default()] {
            let record = PlacementRecord::of(&placement);
            assert_eq!(record.read(), placement);
            let written = serde_json::to_string(&record).expect("written");
            assert_eq!(serde_json::from_str::<PlacementRecord>(&written).expect("read"), record);
        }
    }

    #[test]
    fn record_of_a_service_on_ten_thousand_hosts_takes_few_bytes() {
        let usual = RecordedPlacement {
            chosen: RecordedScore {
                ranks: vec![333, 9],
                tasks: 10,
            },
            runner_up: Some((
                ContainerInstanceId(u128::MAX),
                RecordedScore {
                    ranks: vec![333, 10],
                    tasks: 10,
                },
            )),
            ..placement()
        };
        assert!(PlacementRecord::of(&usual).0.len() <= 48);
    }

    #[test]
    fn text_that_is_no_record_is_refused() {
        let good = PlacementRecord::of(&placement()).to_string();
        for bad in [
            "",
            "02",
            "0",
            "xy",
            &good[2..],
            &good[..good.len() - 2],
            &format!("{good}00"),
            &format!("01{}", &good[2..]),
        ] {
            assert!(bad.parse::<PlacementRecord>().is_err(), "{bad}");
        }
    }
}
