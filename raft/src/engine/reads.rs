//! The reads that wait: to be asked for, to be confirmed, to be applied. Pure.
//!
//! All that wait at one moment share one question to the group.

use std::collections::BTreeMap;

use crate::options::READ_RETRY_TICKS;

/// Reads on their way, from the request to the answer; `R` is who waits.
#[derive(Debug)]
pub(super) struct Reads<R> {
    waiting: Vec<R>,
    asked: BTreeMap<Vec<u8>, Asked<R>>,
    confirmed: Vec<(u64, Vec<R>)>,
}

#[derive(Debug)]
struct Asked<R> {
    readers: Vec<R>,
    ticks: u32,
}

impl<R> Default for Reads<R> {
    fn default() -> Self {
        Self {
            waiting: Vec::new(),
            asked: BTreeMap::new(),
            confirmed: Vec::new(),
        }
    }
}

impl<R> Reads<R> {
    /// A new read.
    pub(super) fn add(&mut self, reader: R) {
        self.waiting.push(reader);
    }

    /// Whether there are reads to ask for.
    pub(super) fn want_to_ask(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// All that wait have been asked for, under this context.
    pub(super) fn asked(&mut self, context: Vec<u8>) {
        let readers = std::mem::take(&mut self.waiting);
        self.asked.insert(context, Asked { readers, ticks: 0 });
    }

    /// A leader confirmed that whoever has applied this index sees every earlier answer.
    pub(super) fn confirmed(&mut self, context: &[u8], index: u64) {
        if let Some(asked) = self.asked.remove(context) {
            self.confirmed.push((index, asked.readers));
        }
    }

    /// Those that may be answered from a view at this index.
    pub(super) fn take_answerable(&mut self, applied: u64) -> Vec<R> {
        self.confirmed
            .extract_if(.., |(index, _)| *index <= applied)
            .flat_map(|(_, readers)| readers)
            .collect()
    }

    /// Another leader: whatever the last one was asked is asked again.
    pub(super) fn leader_changed(&mut self) {
        let asked = std::mem::take(&mut self.asked);
        self.waiting.extend(asked.into_values().flat_map(|asked| asked.readers));
    }

    /// Time passed: gives back those that wait no longer, and asks again for what nobody confirmed.
    pub(super) fn tick(&mut self, waits: impl Fn(&R) -> bool) -> Vec<R> {
        let mut given_up: Vec<R> = self.waiting.extract_if(.., |reader| !waits(reader)).collect();
        for (_, readers) in &mut self.confirmed {
            given_up.extend(readers.extract_if(.., |reader| !waits(reader)));
        }
        self.confirmed.retain(|(_, readers)| !readers.is_empty());
        let mut late = Vec::new();
        for (context, asked) in &mut self.asked {
            asked.ticks += 1;
            given_up.extend(asked.readers.extract_if(.., |reader| !waits(reader)));
            if asked.ticks >= READ_RETRY_TICKS || asked.readers.is_empty() {
                late.push(context.clone());
            }
        }
        for context in late {
            if let Some(asked) = self.asked.remove(&context) {
                self.waiting.extend(asked.readers);
            }
        }
        given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_confirmed_ahead_of_the_view_waits_for_it() {
        let mut reads = Reads::default();
        reads.add("a");
        reads.asked(vec![1]);
        reads.confirmed(&[1], 7);
        assert!(reads.take_answerable(6).is_empty());
        assert_eq!(reads.take_answerable(7), ["a"]);
        assert!(reads.take_answerable(8).is_empty());
    }

    #[test]
    fn read_that_nobody_confirms_is_asked_for_again() {
        let mut reads = Reads::default();
        reads.add("a");
        reads.asked(vec![1]);
        (1..READ_RETRY_TICKS).for_each(|_| assert!(reads.tick(|_| true).is_empty()));
        assert!(!reads.want_to_ask());
        assert!(reads.tick(|_| true).is_empty());
        assert!(reads.want_to_ask());
        reads.confirmed(&[1], 1);
        assert!(
            reads.take_answerable(9).is_empty(),
            "a late answer to the first question counts for nobody"
        );
    }

    #[test]
    fn read_that_nobody_waits_for_is_forgotten() {
        let mut reads = Reads::default();
        reads.add("a");
        assert_eq!(reads.tick(|_| false), ["a"]);
        assert!(!reads.want_to_ask());
    }
}
