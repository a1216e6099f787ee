//! The health of pretended containers. Pure.

use std::time::Duration;

/// What a container's environment says of its health; one that says nothing is healthy from its start.
#[derive(Clone, Debug, Default)]
pub(super) struct SimulatedHealth {
    /// Probes fail until so long after its start.
    pub(super) healthy_after: Option<Duration>,
    /// Probes fail from so long after its start on.
    pub(super) unhealthy_after: Option<Duration>,
    /// Probes pass for so long, then fail for so long, and so on.
    pub(super) flaps_every: Option<Duration>,
    /// Probes are never answered.
    pub(super) hangs: bool,
}

impl SimulatedHealth {
    /// Whether a probe passes that comes so long after the container's start.
    pub(super) fn passes(&self, since_start: Duration) -> bool {
        let turns = |every: Duration| since_start.as_millis() / every.as_millis().max(1);
        self.healthy_after.is_none_or(|after| since_start >= after)
            && self.unhealthy_after.is_none_or(|after| since_start < after)
            && self.flaps_every.is_none_or(|every| turns(every) % 2 == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probe_passes_in_the_time_that_the_environment_names() {
        let ms = Duration::from_millis;
        let health = SimulatedHealth {
            healthy_after: Some(ms(10)),
            unhealthy_after: Some(ms(20)),
            ..SimulatedHealth::default()
        };
        assert_eq!(
            [9, 10, 19, 20].map(|at| health.passes(ms(at))),
            [false, true, true, false]
        );
        let flapping = SimulatedHealth {
            flaps_every: Some(ms(10)),
            ..SimulatedHealth::default()
        };
        assert_eq!(
            [0, 9, 10, 20].map(|at| flapping.passes(ms(at))),
            [true, true, false, true]
        );
        assert!(SimulatedHealth::default().passes(ms(0)));
    }
}
