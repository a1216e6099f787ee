//! Numbers of tasks in sentences. Pure.

/// `1 task` or `2 tasks`.
pub(crate) fn tasks(count: i64) -> String {
    format!("{count} {}", if count == 1 { "task" } else { "tasks" })
}

/// `1 task runs` or `2 tasks run`.
pub(crate) fn tasks_run(count: i64) -> String {
    format!("{} {}", tasks(count), if count == 1 { "runs" } else { "run" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_task_is_spoken_of_as_one() {
        assert_eq!([tasks(0), tasks(1), tasks(2)], ["0 tasks", "1 task", "2 tasks"]);
        assert_eq!([tasks_run(1), tasks_run(2)], ["1 task runs", "2 tasks run"]);
    }
}
