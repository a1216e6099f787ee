//! What `berth logs` is asked for: a task or a service, told apart by its form, else by what there is.
//!
//! Owns that choice. Shell, but for the form, which is pure.

use anyhow::{Result, bail};

use crate::cluster::{Cluster, last_part};
use crate::short_id;

/// Whose logs are meant.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// Those of one task, by id or ARN.
    Task(String),
    /// Those of a service's or daemon's tasks, by name or ARN.
    Service(String),
}

/// What the text can mean by its form.
#[derive(Debug, PartialEq, Eq)]
enum Form {
    Task,
    Service,
    /// The beginning of a task's id, unless there is a service of that name.
    Either,
}

/// Finds out what is meant. A service whose name looks like the beginning of a task's id is taken before the task, since a name
/// cannot be given in a longer form and an id can.
///
/// # Errors
/// If there is neither, or several tasks have ids that begin so.
pub(super) async fn find(cluster: &Cluster, text: &str) -> Result<Subject> {
    match form(text) {
        Form::Task => Ok(Subject::Task(text.to_owned())),
        Form::Service => Ok(Subject::Service(text.to_owned())),
        Form::Either if cluster.service(text).await?.is_some() => Ok(Subject::Service(text.to_owned())),
        Form::Either => {
            let arns = cluster.all_task_arns(None).await?;
            match short_id::complete(text, arns.iter().map(|arn| last_part(arn)))? {
                Some(id) => Ok(Subject::Task(id.to_owned())),
                None => bail!(
                    "cluster {} has neither a service `{text}` nor a task whose id begins so; `berth ps --all` lists its tasks",
                    cluster.name()
                ),
            }
        }
    }
}

fn form(text: &str) -> Form {
    if text.contains(":task/") || short_id::is_whole(text) {
        Form::Task
    } else if short_id::is_prefix(text) {
        Form::Either
    } else {
        Form::Service
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subject_with_the_form_of_a_task_is_a_task() {
        assert_eq!(form("0123456789abcdef0123456789abcdef"), Form::Task);
        assert_eq!(form("arn:aws:ecs:us-east-1:123456789012:task/shop/0123"), Form::Task);
        assert_eq!(form("web"), Form::Service);
        assert_eq!(form("daemon:cafe"), Form::Service);
        assert_eq!(
            form("arn:aws:ecs:us-east-1:123456789012:service/shop/web"),
            Form::Service
        );
    }

    #[test]
    fn subject_that_begins_like_an_id_is_looked_up() {
        assert_eq!(form("0123"), Form::Either);
        assert_eq!(form("cafe"), Form::Either);
        assert_eq!(form("012"), Form::Service);
    }
}
