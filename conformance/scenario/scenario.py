"""The scenario of main.go with the Python client. Usage: scenario.py KUBECONFIG."""

import json
import sys
import threading
import time

from kubernetes import client, config, watch
from kubernetes.client.rest import ApiException
from kubernetes.leaderelection import leaderelection
from kubernetes.leaderelection.electionconfig import Config
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

NAMESPACE = "scenario-python"
APPLY = "application/apply-patch+yaml"
LIMIT_SECONDS = 30


def expect(got, wanted, what=""):
    if got != wanted:
        raise AssertionError(f"{what} {got!r}, not {wanted!r}")


def refused(call):
    """The Status of a call that must be refused."""
    try:
        got = call()
    except ApiException as error:
        return json.loads(error.body)
    raise AssertionError(f"not refused: {got}")


def named(name, value, labels=None):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels=labels), data={"a": value})


def crud(core):
    first = core.create_namespaced_config_map(NAMESPACE, named("crud", "1"))
    expect(refused(lambda: core.create_namespaced_config_map(NAMESPACE, named("crud", "1")))["reason"], "AlreadyExists")
    second = core.read_namespaced_config_map("crud", NAMESPACE)
    second.data["a"] = "2"
    core.replace_namespaced_config_map("crud", NAMESPACE, second)
    expect(refused(lambda: core.replace_namespaced_config_map("crud", NAMESPACE, first))["reason"], "Conflict")
    core.patch_namespaced_config_map("crud", NAMESPACE, {"data": {"b": "3"}})
    read = core.read_namespaced_config_map("crud", NAMESPACE)
    expect((read.data, read.metadata.uid), ({"a": "2", "b": "3"}, first.metadata.uid))
    core.delete_namespaced_config_map("crud", NAMESPACE)
    expect(refused(lambda: core.read_namespaced_config_map("crud", NAMESPACE))["reason"], "NotFound")


def apply(core):
    def applied(value, manager, force):
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "apply"}, "data": {"a": value}}
        return core.patch_namespaced_config_map(
            "apply", NAMESPACE, body, field_manager=manager, force=force, _content_type=APPLY
        )

    applied("1", "one", False)
    conflict = refused(lambda: applied("2", "two", False))
    expect(conflict["reason"], "Conflict")
    expect('conflict with "one": .data.a' in conflict["message"], True, conflict["message"])
    taken = applied("2", "two", True)
    expect([entry.manager for entry in taken.metadata.managed_fields], ["two"])


def watches(core):
    def changes(version, count):
        seen, stream = [], watch.Watch()
        options = {"field_selector": "metadata.name=watch", "resource_version": version}
        for event in stream.stream(core.list_namespaced_config_map, NAMESPACE, timeout_seconds=LIMIT_SECONDS, **options):
            seen.append(f"{event['type']} {event['object'].data['a']}")
            version = event["object"].metadata.resource_version
            if len(seen) == count:
                stream.stop()
        return seen, version

    start = core.list_namespaced_config_map(NAMESPACE, label_selector="none=such").metadata.resource_version
    made = core.create_namespaced_config_map(NAMESPACE, named("watch", "1"))
    made.data["a"] = "2"
    core.replace_namespaced_config_map("watch", NAMESPACE, made)
    seen, version = changes(start, 2)
    expect(seen, ["ADDED 1", "MODIFIED 2"])
    # While nobody watches.
    core.delete_namespaced_config_map("watch", NAMESPACE)
    expect(changes(version, 1)[0], ["DELETED 2"])


def chunks(core):
    labels = {"step": "chunks"}
    for number in range(25):
        core.create_namespaced_config_map(NAMESPACE, named(f"chunk-{number:02}", "1", labels))
    names, versions, token = [], [], None
    while token != "":
        page = core.list_namespaced_config_map(NAMESPACE, limit=10, **({"_continue": token} if token else {}))
        versions.append(page.metadata.resource_version)
        names += [item.metadata.name for item in page.items if item.metadata.labels == labels]
        # What is made between two chunks is in none of them.
        core.create_namespaced_config_map(NAMESPACE, named(f"chunk-late-{len(versions)}", "1", labels))
        token = page.metadata._continue or ""
    expect(names, [f"chunk-{number:02}" for number in range(25)])
    expect((len(versions), len(set(versions))), (3, 1), versions)


def election(_):
    leads, leading, give_up = [], threading.Condition(), threading.Event()

    def candidate(name):
        def lead():
            with leading:
                leads.append(name)
                leading.notify_all()
            if name == "one":
                give_up.wait()
                raise RuntimeError("it gives up")

        lock = LeaseLock("election", NAMESPACE, name)
        elector = leaderelection.LeaderElection(Config(lock, 4, 3, 1, lead, lambda: None))
        threading.Thread(target=elector.run, daemon=True).start()

    def wait_for(expected):
        with leading:
            leading.wait_for(lambda: len(leads) == len(expected), LIMIT_SECONDS)
            expect(leads, expected)

    candidate("one")
    wait_for(["one"])
    candidate("two")
    time.sleep(1)
    wait_for(["one"])
    give_up.set()
    wait_for(["one", "two"])


def main():
    config.load_kube_config(sys.argv[1])
    core = client.CoreV1Api()
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=NAMESPACE)))
    for name, step in [("crud", crud), ("apply", apply), ("watch", watches), ("chunks", chunks), ("election", election)]:
        step(core)
        print("ok", name, flush=True)
    core.delete_namespace(NAMESPACE)


main()
