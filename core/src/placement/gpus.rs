//! GPUs and shares of them: what hosts have, what tasks need, and which devices a task takes. Plain data. Pure.

use std::collections::BTreeMap;
use std::fmt;

/// Most GPUs that a host may have.
pub const MAX_GPUS: usize = 16;

/// A whole GPU, of which shares are thousandths.
pub const WHOLE_GPU: u16 = 1000;

/// The GPUs of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gpus {
    /// What they are; a host has GPUs of one model.
    pub model: String,
    /// The devices; [`MAX_GPUS`] at most.
    pub devices: Vec<GpuDevice>,
    /// Tasks that hold some of them, by how much they need.
    pub tasks: BTreeMap<GpuKind, u32>,
}

/// A GPU of a host, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpuDevice {
    /// What it offers to tasks.
    pub registered: u16,
    /// What no task holds.
    pub free: u16,
}

impl Gpus {
    /// So many devices of a model of which no task holds anything.
    #[must_use]
    pub fn idle(model: &str, count: usize) -> Self {
        let device = GpuDevice {
            registered: WHOLE_GPU,
            free: WHOLE_GPU,
        };
        Self {
            model: model.to_owned(),
            devices: vec![device; count],
            tasks: BTreeMap::new(),
        }
    }

    /// What all devices offer together, in thousandths of a GPU.
    #[must_use]
    pub fn registered(&self) -> u32 {
        self.devices.iter().map(|device| u32::from(device.registered)).sum()
    }
}

/// What a task needs of GPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum GpuNeed {
    /// Nothing.
    #[default]
    None,
    /// So many thousandths of one device, which others may share; more than none and less than [`WHOLE_GPU`].
    Share(u16),
    /// So many devices to itself; one at least.
    Devices(u8),
}

/// Tasks that are alike in what they need of GPUs, whatever the size of a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GpuKind {
    /// A share of one device.
    Shared,
    /// So many devices.
    Whole(u8),
}

impl GpuNeed {
    /// How many devices.
    #[must_use]
    pub fn devices(self) -> usize {
        match self {
            Self::None => 0,
            Self::Share(_) => 1,
            Self::Devices(count) => usize::from(count),
        }
    }

    /// How much of each device, in thousandths.
    #[must_use]
    pub fn per_device(self) -> u16 {
        match self {
            Self::None => 0,
            Self::Share(share) => share,
            Self::Devices(_) => WHOLE_GPU,
        }
    }

    /// How much of all devices together, in thousandths of a GPU.
    #[must_use]
    pub fn total(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Share(share) => u32::from(share),
            Self::Devices(count) => u32::from(count) * u32::from(WHOLE_GPU),
        }
    }

    /// What it has in common with others; `None` where nothing is needed.
    #[must_use]
    pub fn kind(self) -> Option<GpuKind> {
        match self {
            Self::None => None,
            Self::Share(_) => Some(GpuKind::Shared),
            Self::Devices(count) => Some(GpuKind::Whole(count)),
        }
    }
}

/// Devices of a host.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GpuSet(u16);

impl GpuSet {
    /// The devices, as indices into those of the host, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..MAX_GPUS).filter(move |device| self.0 >> device & 1 == 1)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<usize> for GpuSet {
    fn from_iter<I: IntoIterator<Item = usize>>(devices: I) -> Self {
        Self(devices.into_iter().fold(0, |set, device| set | 1 << device))
    }
}

impl fmt::Debug for GpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// What is free of each device of a host, in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FreeGpus {
    shares: [u16; MAX_GPUS],
    count: usize,
}

impl FreeGpus {
    /// # Panics
    /// If the host has more than [`MAX_GPUS`].
    pub(super) fn of(gpus: &Gpus) -> Self {
        assert!(
            gpus.devices.len() <= MAX_GPUS,
            "a host has no more than {MAX_GPUS} GPUs"
        );
        let mut free = Self {
            shares: [0; MAX_GPUS],
            count: gpus.devices.len(),
        };
        for (share, device) in free.shares.iter_mut().zip(&gpus.devices) {
            *share = device.free;
        }
        free
    }

    pub(super) fn shares(&self) -> &[u16] {
        &self.shares[..self.count]
    }

    /// Of all devices together.
    pub(super) fn total(&self) -> u32 {
        self.shares().iter().map(|share| u32::from(*share)).sum()
    }

    /// Devices of which nothing is taken.
    pub(super) fn idle(&self) -> usize {
        self.fitting(WHOLE_GPU).count()
    }

    /// Devices that have so much free.
    pub(super) fn fitting(&self, share: u16) -> impl Iterator<Item = usize> {
        (0..self.count).filter(move |device| self.shares[*device] >= share)
    }

    pub(super) fn holds(&self, need: GpuNeed) -> bool {
        need == GpuNeed::None || self.fitting(need.per_device()).count() >= need.devices()
    }

    /// The devices that fit with the least free, the first of equals; none where too few fit.
    pub(super) fn best_fit(&self, need: GpuNeed) -> GpuSet {
        let mut fitting: Vec<usize> = self.fitting(need.per_device()).collect();
        if fitting.len() < need.devices() {
            return GpuSet::default();
        }
        fitting.sort_by_key(|device| self.shares[*device]);
        fitting.into_iter().take(need.devices()).collect()
    }

    /// Without what a task takes of these devices, which have it.
    pub(super) fn without(mut self, need: GpuNeed, devices: GpuSet) -> Self {
        for device in devices.iter() {
            let left = self.shares[device].checked_sub(need.per_device());
            self.shares[device] = left.expect("a device is chosen among those that have enough");
        }
        self
    }

    /// With what a task gives back of these devices.
    pub(super) fn with(mut self, need: GpuNeed, devices: GpuSet) -> Self {
        for device in devices.iter() {
            let share = &mut self.shares[device];
            *share = share.saturating_add(need.per_device()).min(WHOLE_GPU);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(shares: &[u16]) -> FreeGpus {
        let device = |free: &u16| GpuDevice {
            registered: WHOLE_GPU,
            free: *free,
        };
        FreeGpus::of(&Gpus {
            devices: shares.iter().map(device).collect(),
            ..Gpus::default()
        })
    }

    #[test]
    fn share_goes_to_the_device_with_the_least_free_that_has_enough() {
        let gpus = free(&[1000, 300, 500, 500]);
        assert_eq!(gpus.best_fit(GpuNeed::Share(400)), GpuSet::from_iter([2]));
        assert_eq!(gpus.best_fit(GpuNeed::Share(501)), GpuSet::from_iter([0]));
        assert!(gpus.best_fit(GpuNeed::Devices(2)).is_empty());
    }

    #[test]
    fn whole_devices_are_those_of_which_nothing_is_taken() {
        let gpus = free(&[1000, 999, 1000]);
        assert!(gpus.holds(GpuNeed::Devices(2)) && !gpus.holds(GpuNeed::Devices(3)));
        let taken = gpus.best_fit(GpuNeed::Devices(2));
        assert_eq!(taken, GpuSet::from_iter([0, 2]));
        let left = gpus.without(GpuNeed::Devices(2), taken);
        assert_eq!(left.shares(), [0, 999, 0]);
        assert_eq!(left.with(GpuNeed::Devices(2), taken), gpus);
    }
}
