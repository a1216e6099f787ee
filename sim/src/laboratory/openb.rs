//! The tables of the openb trace (Alibaba's GPU cluster trace of 2023). Pure.
//!
//! CPU is in thousandths there, of which 1000 are 1024 CPU units; what a task asks for is rounded up. `gpu_milli` counts only for one
//! GPU, since more are taken whole. A task that was deleted ran from `creation_time`; the trace says nothing of groups.

use berth_core::model::Resources;
use berth_core::placement::{GpuNeed, Gpus, Host, MAX_GPUS, Shape, WHOLE_GPU};

use super::csv::{Column, CsvError, Row, Table};
use super::workload::{self, LabTask};

/// A column that only the trace's table of hosts has.
pub(super) const HOST_HEADING: &str = "sn";

/// A column that only the trace's table of tasks has.
pub(super) const TASK_HEADING: &str = "num_gpu";

/// The group of all tasks.
const GROUP: &str = "openb";

pub(super) fn hosts(table: &Table<'_>) -> Result<Vec<Host>, CsvError> {
    let (name, gpu, model) = (
        table.column(HOST_HEADING)?,
        table.column("gpu")?,
        table.column("model")?,
    );
    let (cpu, memory) = (table.column("cpu_milli")?, table.column("memory_mib")?);
    let host = |(number, row): (usize, Row<'_>)| {
        let registered = Resources::new(cpu_units(row, cpu)?, row.number(memory)?);
        let gpus = Gpus::idle(row.text(model), device_count(row, gpu)?);
        Ok(workload::host(number, row.text(name), registered, gpus, None))
    };
    table.rows().enumerate().map(host).collect()
}

pub(super) fn tasks(table: &Table<'_>) -> Result<Vec<LabTask>, CsvError> {
    let (name, models) = (table.column("name")?, table.column("gpu_spec")?);
    let (cpu, memory) = (table.column("cpu_milli")?, table.column("memory_mib")?);
    let (count, share) = (table.column(TASK_HEADING)?, table.column("gpu_milli")?);
    let (created, deleted) = (table.column("creation_time")?, table.column("deletion_time")?);
    let task = |row: Row<'_>| {
        let arrives_s = row.number(created)?;
        let deleted_s: Option<u64> = row.number_or_none(deleted)?;
        Ok(LabTask {
            name: row.text(name).to_owned(),
            group: GROUP.to_owned(),
            shape: Shape {
                resources: Resources::new(cpu_units(row, cpu)?, row.number(memory)?),
                gpu: gpu_need(row, count, share)?,
                gpu_models: named_models(row.text(models)),
            },
            arrives_s,
            lasts_s: deleted_s.map(|end| end.saturating_sub(arrives_s)),
        })
    };
    table.rows().map(task).collect()
}

/// Thousandths of a CPU as CPU units.
fn cpu_units(row: Row<'_>, column: Column) -> Result<u32, CsvError> {
    let milli: u64 = row.number(column)?;
    u32::try_from((milli * 1024).div_ceil(1000)).map_err(|_| row.refuse(column, "fewer thousandths of a CPU"))
}

/// How many GPUs a host has.
pub(super) fn device_count(row: Row<'_>, column: Column) -> Result<usize, CsvError> {
    let count: usize = row.number_or_none(column)?.unwrap_or(0);
    match count <= MAX_GPUS {
        true => Ok(count),
        false => Err(row.refuse(column, "at most 16 GPUs")),
    }
}

/// What a task needs of GPUs, from how many and how much of one.
pub(super) fn gpu_need(row: Row<'_>, count: Column, share: Column) -> Result<GpuNeed, CsvError> {
    match row.number_or_none::<u8>(count)?.unwrap_or(0) {
        0 => Ok(GpuNeed::None),
        1 => match row.number_or_none::<u16>(share)?.unwrap_or(WHOLE_GPU) {
            WHOLE_GPU => Ok(GpuNeed::Devices(1)),
            share @ 1..WHOLE_GPU => Ok(GpuNeed::Share(share)),
            _ => Err(row.refuse(share, "from 1 to 1000 thousandths of a GPU")),
        },
        more if usize::from(more) <= MAX_GPUS => Ok(GpuNeed::Devices(more)),
        _ => Err(row.refuse(count, "at most 16 GPUs")),
    }
}

/// Models with `|` between them.
pub(super) fn named_models(text: &str) -> std::collections::BTreeSet<String> {
    text.split('|')
        .map(str::trim)
        .filter(|model| !model.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_of_the_trace_has_its_gpus_and_its_cpu_in_units() {
        let text = "sn,cpu_milli,memory_mib,gpu,model\nopenb-node-0000,64000,262144,2,P100\n";
        let hosts = hosts(&Table::parse(text).expect("a table")).expect("hosts");
        assert_eq!(hosts[0].registered, Resources::new(65_536, 262_144));
        assert_eq!(hosts[0].gpus, Gpus::idle("P100", 2));
    }

    #[test]
    fn task_of_the_trace_takes_a_share_of_one_gpu_or_several_whole_ones() {
        let text = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,creation_time,deletion_time\n\
            a,3152,10,1,460,,5,25\nb,1000,10,2,500,T4|P100,6,\nc,1,10,0,0,,7,8\n";
        let tasks = tasks(&Table::parse(text).expect("a table")).expect("tasks");
        let needs: Vec<GpuNeed> = tasks.iter().map(|task| task.shape.gpu).collect();
        assert_eq!(needs, [GpuNeed::Share(460), GpuNeed::Devices(2), GpuNeed::None]);
        assert_eq!(tasks[0].shape.resources, Resources::new(3228, 10));
        assert_eq!(tasks[1].shape.gpu_models.len(), 2);
        assert_eq!(
            (tasks[0].arrives_s, tasks[0].lasts_s, tasks[1].lasts_s),
            (5, Some(20), None)
        );
        let bad =
            "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,creation_time,deletion_time\na,1,1,1,1001,,0,0\n";
        let error = super::tasks(&Table::parse(bad).expect("a table")).expect_err("too much of one GPU");
        assert!(error.to_string().contains("from 1 to 1000"), "{error}");
    }
}
