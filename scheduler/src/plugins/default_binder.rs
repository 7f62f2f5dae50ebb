//! DefaultBinder: binds by POST to the pod's binding subresource
//! (pkg/scheduler/framework/plugins/defaultbinder/default_binder.go@v1.37.2).

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::framework::plugin::{Plugin, Point};
use crate::framework::state::CycleState;
use crate::framework::status::{Outcome, Status};
use crate::handle::Handle;
use crate::pod_info::PodInfo;
use crate::writer::Writer;

pub(crate) const NAME: &str = "DefaultBinder";

pub(crate) struct DefaultBinder {
    writer: Arc<dyn Writer>,
}

impl DefaultBinder {
    pub(crate) fn new(handle: &Handle) -> Self {
        DefaultBinder { writer: handle.writer.clone() }
    }
}

impl Plugin for DefaultBinder {
    fn name(&self) -> &'static str {
        NAME
    }

    fn points(&self) -> &'static [Point] {
        &[Point::Bind]
    }

    fn bind<'a>(&'a self, _: &'a CycleState, pod: &'a PodInfo, node: &'a str) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let bound = self.writer.bind(pod.namespace(), pod.name(), &pod.uid, node).await;
            bound.map_err(|error| Status::error(error.message()))
        })
    }
}
