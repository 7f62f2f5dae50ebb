//! The life of a fake pod, and that thousands of them are cheap.

use super::*;

fn fake() -> Fake {
    let options = Options { pod_cidr: "10.1.0.0/16".into(), absent_images: vec!["gone:1".into()] };
    Fake::new(options).expect("fake")
}

async fn pod(fake: &Fake, name: &str) -> (String, String) {
    let labels = [("uid".to_owned(), name.to_owned())].into();
    let metadata = PodSandboxMetadata { name: name.into(), uid: name.into(), ..Default::default() };
    let config = PodSandboxConfig { metadata: Some(metadata), labels, ..Default::default() };
    let request = RunPodSandboxRequest { config: Some(config), ..Default::default() };
    let sandbox = fake.run_pod_sandbox(request).await.expect("sandbox").pod_sandbox_id;
    let image = ImageSpec { image: "busybox".into(), ..Default::default() };
    fake.pull_image(PullImageRequest { image: Some(image.clone()), ..Default::default() }).await.expect("pulled");
    let config = ContainerConfig { image: Some(image), ..Default::default() };
    let request =
        CreateContainerRequest { pod_sandbox_id: sandbox.clone(), config: Some(config), ..Default::default() };
    let container = fake.create_container(request).await.expect("created").container_id;
    fake.start_container(StartContainerRequest { container_id: container.clone() }).await.expect("started");
    (sandbox, container)
}

async fn state(fake: &Fake, id: &str) -> Option<(i32, i32)> {
    let request = ContainerStatusRequest { container_id: id.into(), verbose: false };
    let status = fake.container_status(request).await.ok()?.status?;
    Some((status.state, status.exit_code))
}

#[tokio::test]
async fn a_pod_runs_exits_and_is_removed_with_events() {
    let fake = fake();
    let mut events = fake.container_events().await.expect("events");
    let (sandbox, container) = pod(&fake, "a").await;
    assert_eq!(state(&fake, &container).await, Some((ContainerState::ContainerRunning as i32, 0)));
    fake.exit(&container, 3).expect("exits");
    assert_eq!(state(&fake, &container).await, Some((ContainerState::ContainerExited as i32, 3)));
    assert!(fake.exit(&container, 3).is_err(), "it runs no more");
    let request = RemovePodSandboxRequest { pod_sandbox_id: sandbox.clone() };
    fake.remove_pod_sandbox(request.clone()).await.expect("removed");
    fake.remove_pod_sandbox(request).await.expect("idempotent");
    assert_eq!(state(&fake, &container).await, None);
    let mut kinds = Vec::new();
    for _ in 0..4 {
        kinds.push(events.next().await.expect("open").expect("event").container_event_type);
    }
    use ContainerEventType::*;
    let expected =
        [ContainerStartedEvent, ContainerStoppedEvent, ContainerStoppedEvent, ContainerDeletedEvent].map(|k| k as i32);
    assert_eq!(kinds, expected);
}

#[tokio::test]
async fn addresses_are_unique_and_come_back() {
    let fake = fake();
    let (first, _) = pod(&fake, "a").await;
    let (second, _) = pod(&fake, "b").await;
    let ip = async |id: &str| {
        let request = PodSandboxStatusRequest { pod_sandbox_id: id.into(), verbose: false };
        fake.pod_sandbox_status(request).await.expect("status").status.expect("set").network.expect("set").ip
    };
    assert_eq!((ip(&first).await, ip(&second).await), ("10.1.0.2".into(), "10.1.0.3".into()));
    fake.stop_pod_sandbox(StopPodSandboxRequest { pod_sandbox_id: first.clone() }).await.expect("stopped");
    let (third, _) = pod(&fake, "c").await;
    assert_eq!(ip(&third).await, "10.1.0.2");
    let network = NetworkConfig { pod_cidr: "10.9.0.0/24".into() };
    let runtime_config = Some(RuntimeConfig { network_config: Some(network) });
    fake.update_runtime_config(UpdateRuntimeConfigRequest { runtime_config }).await.expect("updated");
    let (fourth, _) = pod(&fake, "d").await;
    assert_eq!(ip(&fourth).await, "10.9.0.2");
}

#[tokio::test]
async fn thousands_of_pods_are_cheap() {
    let fake = fake();
    let start = std::time::Instant::now();
    for count in 0..5000 {
        pod(&fake, &count.to_string()).await;
    }
    assert_eq!(fake.running().len(), 5000);
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}
