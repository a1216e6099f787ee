//! An axis of a plot: from where to where it goes, and where it is numbered. Pure.

/// Numbers on an axis, about.
const TICKS: f64 = 6.0;

/// From where to where an axis goes, and in which steps it is numbered.
pub(super) struct Axis {
    from: f64,
    to: f64,
    step: f64,
}

impl Axis {
    /// From a round number to a round number, with all values between.
    pub(super) fn around(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        let span = if high > low { high - low } else { 1.0 };
        let power = 10_f64.powf((span / TICKS).log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
        let step = steps.into_iter().find(|step| span / step <= TICKS).unwrap_or(span);
        let from = (low / step).floor() * step;
        let to = (high / step).ceil() * step;
        Self {
            from,
            to: if to > from { to } else { from + step },
            step,
        }
    }

    /// The same, up to the last value and no further.
    pub(super) fn up_to_the_last(values: impl Iterator<Item = f64> + Clone) -> Self {
        let last = values.clone().fold(f64::MIN, f64::max);
        let round = Self::around(values);
        Self {
            to: if last > round.from { last } else { round.to },
            ..round
        }
    }

    /// Where a value is: 0 at the beginning and 1 at the end.
    pub(super) fn part(&self, value: f64) -> f64 {
        (value - self.from) / (self.to - self.from)
    }

    pub(super) fn ticks(&self) -> Vec<f64> {
        let mut ticks = vec![self.from];
        while let Some(last) = ticks.last().filter(|last| **last + self.step * 0.999 < self.to) {
            ticks.push(last + self.step);
        }
        ticks
    }

    /// The number at a tick, with so many digits as tell it from the next; thousands as `k` where there are many.
    pub(super) fn number(&self, value: f64) -> String {
        let in_thousands = self.to >= 10_000.0 && self.step >= 100.0;
        let (value, step, unit) = if in_thousands {
            (value / 1000.0, self.step / 1000.0, "k")
        } else {
            (value, self.step, "")
        };
        let decimals = if step >= 1.0 {
            0
        } else if step >= 0.1 {
            1
        } else {
            3
        };
        match value == 0.0 {
            true => "0".to_owned(),
            false => format!("{value:.decimals$}{unit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(axis: &Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|tick| axis.number(tick)).collect()
    }

    #[test]
    fn axis_is_numbered_in_round_steps_around_what_it_shows() {
        let axis = Axis::around([3.2, 97.0].into_iter());
        assert_eq!((axis.from, axis.to, axis.step), (0.0, 100.0, 20.0));
        assert_eq!(axis.ticks(), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        let empty = Axis::around([].into_iter());
        assert!(empty.to > empty.from);
        let flat = Axis::around([5.0, 5.0].into_iter());
        assert!((0.0..=1.0).contains(&flat.part(5.0)));
    }

    #[test]
    fn axis_up_to_the_last_value_leaves_no_room_behind_it() {
        let axis = Axis::up_to_the_last([3.2, 130.0].into_iter());
        assert_eq!((axis.from, axis.to), (0.0, 130.0));
        assert_eq!(axis.ticks(), [0.0, 50.0, 100.0]);
        for nothing in [vec![], vec![7.0]] {
            let axis = Axis::up_to_the_last(nothing.into_iter());
            assert!(axis.to > axis.from);
        }
    }

    #[test]
    fn large_numbers_are_told_in_thousands() {
        assert_eq!(
            numbers(&Axis::around([0.0, 131_072.0].into_iter())),
            ["0", "50k", "100k", "150k"]
        );
        assert_eq!(
            numbers(&Axis::around([12_000.0, 13_400.0].into_iter()))[..2],
            ["12.0k", "12.5k"]
        );
        assert_eq!(
            numbers(&Axis::around([0.0, 900.0].into_iter()))[..3],
            ["0", "200", "400"]
        );
    }
}
