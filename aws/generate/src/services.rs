//! Which services are generated: one line each.
//!
//! Owns the list. Pure data.

/// Where a service's model is found.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// `<service>/<version>` under botocore's data folder.
    Botocore(&'static str),
    /// A folder under `aws/models`.
    Own(&'static str),
}

/// Which operations of a model are generated.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operations {
    /// Every one.
    All,
    /// Those named.
    Only(&'static [&'static str]),
}

/// One service to generate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    /// Name of the Rust module.
    pub(crate) module: &'static str,
    /// Its model.
    pub(crate) source: Source,
    /// Its operations.
    pub(crate) operations: Operations,
    /// Code of the error for input that breaks a constraint.
    pub(crate) validation: &'static str,
}

const fn service(module: &'static str, source: Source, operations: Operations, validation: &'static str) -> Config {
    Config {
        module,
        source,
        operations,
        validation,
    }
}

/// What deployments that fail by alarms need of CloudWatch.
#[rustfmt::skip]
const ALARMS: &[&str] = &[
    "DeleteAlarms", "DescribeAlarms", "ListTagsForResource", "PutMetricAlarm", "SetAlarmState", "TagResource", "UntagResource",
];

/// The services, sorted by module.
#[rustfmt::skip]
pub(crate) const SERVICES: &[Config] = &[
    service("berth", Source::Own("berth"), Operations::All, "InvalidParameterException"),
    service("cloudwatch", Source::Botocore("cloudwatch/2010-08-01"), Operations::Only(ALARMS), "ValidationError"),
    service("ecs", Source::Botocore("ecs/2014-11-13"), Operations::All, "InvalidParameterException"),
    service("sts", Source::Botocore("sts/2011-06-15"), Operations::Only(&["GetCallerIdentity"]), "ValidationError"),
];
