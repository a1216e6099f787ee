//! The GPUs that a task needs must be free, and of a model that it may run on (ECS: `RESOURCE:GPU`). Pure.

use super::Filter;
use crate::placement::board::{Board, HostIndex};
use crate::placement::gpus::GpuNeed;
use crate::placement::need::Need;
use crate::placement::refusal::{GpuShortage, Refusal};

/// See the module.
pub(super) struct Gpu;

impl Filter for Gpu {
    fn refusal(&self, board: &Board, need: &Need, host: HostIndex) -> Option<Refusal> {
        let (wanted, free) = (need.shape.gpu, board.all_free(host).gpus);
        if wanted == GpuNeed::None {
            return None;
        }
        if !free.shares().is_empty() && !need.gpu_models.allow(board.model(host)) {
            return Some(Refusal::GpuModel {
                needs: need.shape.gpu_models.clone(),
                has: board.host(host).gpus.model.clone(),
            });
        }
        let shortage = || match wanted {
            GpuNeed::Share(needs) => GpuShortage::Share {
                needs,
                most_free: free.shares().iter().copied().max().unwrap_or(0),
                devices: free.shares().len(),
            },
            _ => GpuShortage::Devices {
                needs: wanted.devices(),
                idle: free.idle(),
                devices: free.shares().len(),
            },
        };
        (!free.holds(wanted)).then(|| Refusal::Gpu(shortage()))
    }
}
