//! Resources that changed, each once, at the place of its last change: who comes back after a while takes each as it is now. Pure.

use std::collections::BTreeMap;

use berth_core::announcements::{Position, Resource, Touched};
use berth_core::model::LogIndex;

use super::Read;

/// Resources that are kept: all tasks of a cluster of 10,000 hosts that is replaced at once.
const MAX_RESOURCES: usize = 100_000;

/// What is kept.
#[derive(Debug, Default)]
pub(super) struct KeptChanges {
    by_place: BTreeMap<Position, Resource>,
    places: BTreeMap<Resource, Position>,
    /// All that changed here or after is kept.
    begins: Position,
}

impl KeptChanges {
    /// Adds what the command at `index` touched.
    pub(super) fn add(&mut self, index: LogIndex, touched: Touched) {
        let resources = match touched {
            Touched::These(resources) => resources,
            Touched::Everything => return self.begin_at(Position::after(index)),
        };
        for (number, resource) in (0..).zip(resources) {
            let place = Position { index, number };
            if let Some(earlier) = self.places.insert(resource.clone(), place) {
                self.by_place.remove(&earlier);
            }
            self.by_place.insert(place, resource);
        }
        while self.by_place.len() > MAX_RESOURCES {
            let Some((place, resource)) = self.by_place.pop_first() else {
                return;
            };
            self.places.remove(&resource);
            self.begins = place.next();
        }
    }

    /// Forgets all, and begins at a place.
    pub(super) fn begin_at(&mut self, place: Position) {
        self.by_place.clear();
        self.places.clear();
        self.begins = place;
    }

    /// The next from `from` on; `end` is the place after all that changed.
    pub(super) fn read(
        &self,
        from: Position,
        limit: usize,
        end: Position,
        wanted: impl Fn(&Resource) -> bool,
    ) -> Read<(Position, Resource)> {
        let kept = self.by_place.range(from..).map(|(place, resource)| (*place, resource));
        Read::of(self.begins, from, limit, end, kept, |place, resource| {
            wanted(resource).then(|| (place, resource.clone()))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use berth_core::model::Scope;

    use super::super::Missed;
    use super::*;

    fn at(index: u64, number: u32) -> Position {
        Position {
            index: LogIndex(index),
            number,
        }
    }

    fn service(name: &str) -> Resource {
        let cluster = Scope::new("123456789012", "us-east-1").cluster("default");
        Resource::Service(cluster.service(name))
    }

    fn these(names: &[&str]) -> Touched {
        Touched::These(names.iter().map(|name| service(name)).collect::<BTreeSet<_>>())
    }

    fn found(read: Read<(Position, Resource)>) -> Vec<Resource> {
        read.found.into_iter().map(|(_, resource)| resource).collect()
    }

    #[test]
    fn resource_that_changes_often_is_told_once_and_last() {
        let mut kept = KeptChanges::default();
        kept.add(LogIndex(1), these(&["a", "b"]));
        kept.add(LogIndex(2), these(&["a"]));
        let end = at(3, 0);
        assert_eq!(
            found(kept.read(at(0, 0), 9, end, |_| true)),
            [service("b"), service("a")]
        );
        assert_eq!(found(kept.read(at(2, 0), 9, end, |_| true)), [service("a")]);
        let first = kept.read(at(0, 0), 1, end, |_| true);
        assert_eq!(first.next, at(2, 0));
        assert_eq!(found(kept.read(first.next, 9, end, |_| true)), [service("a")]);
    }

    #[test]
    fn what_is_forgotten_or_touched_as_a_whole_is_told_as_missed() {
        let mut kept = KeptChanges::default();
        for index in 0..=u64::try_from(MAX_RESOURCES).expect("small") {
            kept.add(LogIndex(index), these(&[&format!("s{index}")]));
        }
        let end = at(900_000, 0);
        let missed = |kept: &KeptChanges, from| kept.read(from, 1, end, |_| true).missed;
        assert_eq!(missed(&kept, at(0, 1)), None);
        let gap = Missed {
            from: at(0, 0),
            to: at(0, 1),
        };
        assert_eq!(missed(&kept, at(0, 0)), Some(gap));
        kept.add(LogIndex(800_000), Touched::Everything);
        assert!(missed(&kept, at(800_000, 0)).is_some());
        assert_eq!(missed(&kept, at(800_001, 0)), None);
    }
}
