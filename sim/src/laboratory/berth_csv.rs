//! Berth's own tables of hosts and tasks, as `docs/laboratory.md` describes them. Pure.

use berth_core::model::Resources;
use berth_core::placement::{Gpus, Host, Shape};

use super::csv::{CsvError, Row, Table};
use super::openb::{device_count, gpu_need, named_models};
use super::workload::{self, LabTask};

pub(super) fn hosts(table: &Table<'_>) -> Result<Vec<Host>, CsvError> {
    let (name, cpu, memory) = (
        table.column("host")?,
        table.column("cpu_units")?,
        table.column("memory_mib")?,
    );
    let (gpus, model, zone) = (
        table.optional("gpus"),
        table.optional("gpu_model"),
        table.optional("zone"),
    );
    let host = |(number, row): (usize, Row<'_>)| {
        let registered = Resources::new(row.number(cpu)?, row.number(memory)?);
        let gpus = Gpus::idle(row.text(model), device_count(row, gpus)?);
        let zone = Some(row.text(zone)).filter(|zone| !zone.is_empty());
        Ok(workload::host(number, row.text(name), registered, gpus, zone))
    };
    table.rows().enumerate().map(host).collect()
}

pub(super) fn tasks(table: &Table<'_>) -> Result<Vec<LabTask>, CsvError> {
    let (name, group) = (table.column("task")?, table.column("group")?);
    let (cpu, memory) = (table.column("cpu_units")?, table.column("memory_mib")?);
    let (gpus, share, models) = (
        table.optional("gpus"),
        table.optional("gpu_milli"),
        table.optional("gpu_models"),
    );
    let (arrives, lasts) = (table.optional("arrives_s"), table.optional("lasts_s"));
    let task = |row: Row<'_>| {
        Ok(LabTask {
            name: row.text(name).to_owned(),
            group: row.text(group).to_owned(),
            shape: Shape {
                resources: Resources::new(row.number(cpu)?, row.number(memory)?),
                gpu: gpu_need(row, gpus, share)?,
                gpu_models: named_models(row.text(models)),
            },
            arrives_s: row.number_or_none(arrives)?.unwrap_or(0),
            lasts_s: row.number_or_none(lasts)?,
        })
    };
    table.rows().map(task).collect()
}
