//! What of CloudWatch deployments need that fail by alarms: alarms, whose state is what somebody sets, and their tags. One file for each
//! operation; [`alarms`] has what they share. No metric is evaluated and no action carried out. Shell; the helpers are pure.

mod alarms;

pub(super) mod delete_alarms;
pub(super) mod describe_alarms;
pub(super) mod list_tags_for_resource;
pub(super) mod put_metric_alarm;
pub(super) mod set_alarm_state;
pub(super) mod tag_resource;
pub(super) mod untag_resource;
