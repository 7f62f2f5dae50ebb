//! What jobs and cron jobs get by default and what is wrong with them, as upstream says it.

use api::json;
use api::value::{Map, Value};

use super::cron_job::CronJob;
use super::job::Job;
use crate::resources::common::given::{map, texts};
use crate::rest::metadata;
use crate::strategy::{Context, Strategy};

const POD: &str = r#""template":{"metadata":{"labels":{"a":"b"}},"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i"}]}}"#;

fn shown(value: Option<&Value>) -> String {
    let mut out = Vec::new();
    json::encode_value(&mut out, value.unwrap_or(&Value::Null));
    String::from_utf8_lossy(&out).into_owned()
}

/// A job as it is right after it was made.
fn job(more: &str) -> Map {
    let more = if more.is_empty() { String::new() } else { format!(",{more}") };
    created(map(&format!(r#"{{"metadata":{{"name":"x","uid":"u"}},"spec":{{{POD}{more}}}}}"#)))
}

fn created(mut job: Map) -> Map {
    let labels_defaulted = metadata::lacks_labels(&job);
    Job.default(&mut job);
    let user = crate::authn::User::default();
    Job.prepare_for_create(&Context { user: &user, now: "2026-11-24T08:00:00Z", labels_defaulted }, &mut job);
    job
}

fn cron_job(schedule: &str, more: &str) -> Map {
    let more = if more.is_empty() { String::new() } else { format!(",{more}") };
    let spec = format!(r#""schedule":"{schedule}","jobTemplate":{{"spec":{{{POD}}}}}{more}"#);
    let mut object = map(&format!(r#"{{"metadata":{{"name":"x"}},"spec":{{{spec}}}}}"#));
    CronJob.default(&mut object);
    object
}

#[test]
fn defaults() {
    let cases = [
        ("", "completions", "1"),
        ("", "parallelism", "1"),
        (r#""parallelism":3"#, "completions", "null"),
        (r#""completions":3"#, "parallelism", "1"),
        ("", "backoffLimit", "6"),
        (r#""completions":3,"completionMode":"Indexed","backoffLimitPerIndex":1"#, "backoffLimit", "2147483647"),
        ("", "completionMode", r#""NonIndexed""#),
        ("", "suspend", "false"),
        ("", "manualSelector", "false"),
        ("", "podReplacementPolicy", r#""TerminatingOrFailed""#),
        (r#""podFailurePolicy":{"rules":[]}"#, "podReplacementPolicy", r#""Failed""#),
        ("", "selector", r#"{"matchLabels":{"batch.kubernetes.io/controller-uid":"u"}}"#),
    ];
    for (more, name, expect) in cases {
        assert_eq!(shown(job(more).map("spec").and_then(|spec| spec.get(name))), expect, "{name} with {more}");
    }
    let labels = r#"{"a":"b","batch.kubernetes.io/controller-uid":"u","batch.kubernetes.io/job-name":"x","controller-uid":"u","job-name":"x"}"#;
    assert_eq!(shown(job("").value_at(&["spec", "template", "metadata", "labels"])), labels);
    assert_eq!(shown(job("").value_at(&["metadata", "labels"])), labels);
    // Labels of the client's own stay as they are, also those that are the template's.
    let own = map(&format!(r#"{{"metadata":{{"name":"x","uid":"u","labels":{{"a":"b"}}}},"spec":{{{POD}}}}}"#));
    assert_eq!(shown(created(own).value_at(&["metadata", "labels"])), r#"{"a":"b"}"#);
    assert!(Job.orphans_by_default() && !CronJob.orphans_by_default());
}

#[test]
fn a_cron_job_s_template_is_not_defaulted_like_a_job() {
    let object = cron_job("* * * * *", "");
    let spec = object.map("spec").unwrap();
    assert_eq!(spec.str("concurrencyPolicy"), "Allow");
    assert_eq!(shown(spec.get("suspend")), "false");
    assert_eq!((spec.i64("successfulJobsHistoryLimit"), spec.i64("failedJobsHistoryLimit")), (Some(3), Some(1)));
    let inner = object.at(&["spec", "jobTemplate", "spec"]).unwrap();
    for name in ["completions", "parallelism", "backoffLimit", "completionMode", "suspend", "podReplacementPolicy"] {
        assert!(!inner.contains(name), "{name}");
    }
}

#[test]
fn errors() {
    let restart = "spec.template.spec.restartPolicy";
    let cases: [(&str, Vec<String>); 7] = [
        ("", vec![]),
        (r#""parallelism":-1"#, vec!["spec.parallelism: Invalid value: -1: must be greater than or equal to 0".into()]),
        (
            r#""completionMode":"x""#,
            vec![r#"spec.completionMode: Unsupported value: "x": supported values: "NonIndexed", "Indexed""#.into()],
        ),
        (
            r#""backoffLimitPerIndex":1"#,
            vec!["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode".into()],
        ),
        (
            r#""podFailurePolicy":{"rules":[{"action":"Ignore"}]}"#,
            vec!["spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required".into()],
        ),
        (
            r#""podFailurePolicy":{"rules":[{"action":"Ignore","onExitCodes":{"operator":"In","values":[0]}}]}"#,
            vec!["spec.podFailurePolicy.rules[0].onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator".into()],
        ),
        (
            r#""manualSelector":true"#,
            vec!["spec.selector: Required value".into(), "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`".into()],
        ),
    ];
    for (more, expect) in cases {
        assert_eq!(texts(&Job.validate(&job(more))), expect, "{more}");
    }
    let mut always = job("");
    always.map_mut("spec").map_mut("template").map_mut("spec").set("restartPolicy", "Always");
    let expect = format!("{restart}: Required value: valid values: \"OnFailure\", \"Never\"");
    assert_eq!(texts(&Job.validate(&always)), [expect]);
}

#[test]
fn a_template_may_change_only_while_the_job_is_suspended() {
    for (more, expect) in [("", 1), (r#""suspend":true"#, 0)] {
        let old = job(more);
        let mut object = old.clone();
        let pod = object.map_mut("spec").map_mut("template").map_mut("spec");
        pod.set("nodeSelector", map(r#"{"x":"y"}"#));
        let errors = Job.validate_update(&object, &old);
        assert_eq!(errors.len(), expect, "{more}: {errors:?}");
        assert!(
            errors.iter().all(|error| error.field == "spec.template" && error.body.ends_with("field is immutable"))
        );
    }
}

#[test]
fn updates() {
    let indexed = r#""completions":3,"parallelism":3,"completionMode":"Indexed""#;
    let cases = [
        ("", "completions", 2, "spec.completions: Invalid value: 2: field is immutable"),
        (
            indexed,
            "completions",
            2,
            "spec.completions: Invalid value: 2: can only be modified in tandem with spec.parallelism",
        ),
    ];
    for (more, name, value, expect) in cases {
        let old = job(more);
        let mut object = old.clone();
        object.map_mut("spec").set(name, value);
        assert_eq!(texts(&Job.validate_update(&object, &old)), [expect]);
    }
}

#[test]
fn statuses() {
    let complete = r#"{"startTime":"2026-11-24T08:00:00Z","completionTime":"2026-11-24T08:00:01Z","succeeded":1,"conditions":[{"type":"SuccessCriteriaMet","status":"True"},{"type":"Complete","status":"True"}]}"#;
    let cases: [(&str, &str, Vec<&str>); 5] = [
        ("{}", complete, vec![]),
        ("{}", r#"{"active":-1}"#, vec!["status.active: Invalid value: -1: must be greater than or equal to 0"]),
        (
            r#"{"failed":2}"#,
            r#"{"failed":1}"#,
            vec!["status.failed: Invalid value: 1: cannot decrease the failed counter"],
        ),
        ("{}", r#"{"ready":1}"#, vec!["status.ready: Invalid value: 1: cannot set more ready pods than active"]),
        (
            complete,
            &complete.replace(r#","completionTime":"2026-11-24T08:00:01Z""#, ""),
            vec!["status.completionTime: Required value: completionTime is required for Complete jobs"],
        ),
    ];
    for (was, now, expect) in cases {
        let (mut old, mut object) = (job(""), job(""));
        old.set("status", map(was));
        object.set("status", map(now));
        assert_eq!(texts(&Job.validate_status_update(&object, &old)), expect, "{was} to {now}");
    }
}

#[test]
fn cron_jobs() {
    let zone = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
    let cases = [
        ("* * * * *", "", vec![]),
        (
            "* * * *",
            "",
            vec!["spec.schedule: Invalid value: \"* * * *\": expected exactly 5 fields, found 4: [* * * *]".into()],
        ),
        ("TZ=UTC * * * * *", "", vec![format!("spec.schedule: Invalid value: \"TZ=UTC * * * * *\": {zone}")]),
        (
            "* * * * *",
            r#""timeZone":"Mars/Base""#,
            vec!["spec.timeZone: Invalid value: \"Mars/Base\": unknown time zone Mars/Base".into()],
        ),
        (
            "* * * * *",
            r#""concurrencyPolicy":"x""#,
            vec![
                r#"spec.concurrencyPolicy: Unsupported value: "x": supported values: "Allow", "Forbid", "Replace""#
                    .into(),
            ],
        ),
        (
            "* * * * *",
            r#""failedJobsHistoryLimit":-1"#,
            vec!["spec.failedJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0".into()],
        ),
    ];
    for (schedule, more, expect) in cases {
        assert_eq!(texts(&CronJob.validate(&cron_job(schedule, more))), expect, "{schedule} {more}");
    }
    let mut long = cron_job("* * * * *", "");
    long.map_mut("metadata").set("name", "x".repeat(53));
    let expect = format!("metadata.name: Invalid value: \"{}\": must be no more than 52 characters", "x".repeat(53));
    assert_eq!(texts(&CronJob.validate(&long)), [expect]);
}
