//! Creates and deletes pods for a controller, with upstream's events
//! (pkg/controller/controller_utils.go@v1.37.2, RealPodControl).

use client::events::Recorder;
use futures::future::join_all;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client, Resource};

use super::pods;
use crate::error::{Error, Result, is_namespace_terminating, is_not_found, text};

/// The first batch of pods that are created at once; doubles with each success.
const SLOW_START_INITIAL_BATCH: usize = 1;

/// Writes pods in the name of one controller.
#[derive(Clone)]
pub(crate) struct PodControl {
    pub(crate) client: Client,
    pub(crate) recorder: Recorder,
}

impl PodControl {
    /// Creates a pod from a template; `Ok(None)` when the namespace is going away.
    pub(crate) async fn create<O>(
        &self,
        owner: &O,
        template: &PodTemplateSpec,
        reference: OwnerReference,
    ) -> Result<Option<Pod>>
    where
        O: Resource<DynamicType = ()>,
    {
        let pod = pods::from_template(template, owner.meta().name.as_deref().unwrap_or(""), reference);
        self.create_pod(owner, &pod).await
    }

    pub(crate) async fn create_pod<O>(&self, owner: &O, pod: &Pod) -> Result<Option<Pod>>
    where
        O: Resource<DynamicType = ()>,
    {
        if pod.metadata.labels.as_ref().is_none_or(|labels| labels.is_empty()) {
            return Err(Error::other("unable to create pods, no labels"));
        }
        let api: Api<Pod> = Api::namespaced(self.client.clone(), owner.meta().namespace.as_deref().unwrap_or(""));
        match api.create(&PostParams::default(), pod).await {
            Ok(created) => {
                let name = created.metadata.name.as_deref().unwrap_or("");
                self.recorder.event(owner, "Normal", "SuccessfulCreate", format!("Created pod: {name}"));
                Ok(Some(created))
            }
            Err(error) if is_namespace_terminating(&error) => Ok(None),
            Err(error) => {
                self.recorder.event(owner, "Warning", "FailedCreate", format!("Error creating: {}", text(&error)));
                Err(error.into())
            }
        }
    }

    /// Deletes a pod; the error of an absent one is passed on ([`Error::is_not_found`]).
    pub(crate) async fn delete<O: Resource<DynamicType = ()>>(&self, owner: &O, pod: &Pod) -> Result<()> {
        let name = pod.metadata.name.as_deref().unwrap_or("");
        let api: Api<Pod> = Api::namespaced(self.client.clone(), pod.metadata.namespace.as_deref().unwrap_or(""));
        // The cache may be behind: never delete another pod that got the same name.
        let preconditions = Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None });
        let params = DeleteParams { preconditions, ..DeleteParams::default() };
        match api.delete(name, &params).await {
            Ok(_) => {
                self.recorder.event(owner, "Normal", "SuccessfulDelete", format!("Deleted pod: {name}"));
                Ok(())
            }
            Err(error) if is_not_found(&error) => Err(error.into()),
            Err(error) => {
                self.recorder.event(owner, "Warning", "FailedDelete", format!("Error deleting: {}", text(&error)));
                Err(Error::other(format!("unable to delete pods: {}", text(&error))))
            }
        }
    }
}

/// Runs `count` writes in batches of 1, 2, 4, ...; stops after the first batch with an error.
/// Returns how many succeeded.
pub(crate) async fn slow_start<F, Fut>(count: usize, write: F) -> (usize, Result<()>)
where
    F: Fn(usize) -> Fut,
    Fut: Future<Output = Result<()>>,
{
    let (mut done, mut batch) = (0, SLOW_START_INITIAL_BATCH.min(count));
    while batch > 0 {
        let first = done;
        let outcomes = join_all((first..first + batch).map(&write)).await;
        let mut failed = None;
        for outcome in outcomes {
            match outcome {
                Ok(()) => done += 1,
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            return (done, Err(error));
        }
        batch = (2 * batch).min(count - done);
    }
    (done, Ok(()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn batches_double_and_stop_at_an_error() {
        for (count, fail_at, calls_expected, done_expected) in
            [(10, usize::MAX, 10, 10), (10, 0, 1, 0), (10, 2, 3, 2), (10, 4, 7, 6), (0, 0, 0, 0)]
        {
            let calls = AtomicUsize::new(0);
            let (done, outcome) = slow_start(count, |_| async {
                let call = calls.fetch_add(1, Ordering::Relaxed);
                if call == fail_at { Err(Error::other("no")) } else { Ok(()) }
            })
            .await;
            assert_eq!((calls.into_inner(), done), (calls_expected, done_expected), "{count} failing at {fail_at}");
            assert_eq!(outcome.is_ok(), done == count);
        }
    }
}
