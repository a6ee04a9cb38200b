"""The Kubernetes manifest of docs/examples."""

import pytest
import tensorflow as tf
import yaml

from scripts.train import make_parser
from tests.golden_files import ROOT

MANIFEST = ROOT / "docs" / "examples" / "kubernetes.yaml"


def read() -> dict[str, dict]:
    """Return the manifest's objects by their kind."""
    return {each["kind"]: each for each in yaml.safe_load_all(MANIFEST.read_text("utf-8"))}


def test_it_follows_the_schemas_of_kubernetes():
    kubernetes = pytest.importorskip("kubernetes_validate")
    for each in read().values():
        kubernetes.validate(each, kubernetes.latest_version(), strict=True)


def test_each_pod_is_one_of_the_workers(monkeypatch):
    """As TensorFlow reads TF_CONFIG, with the names that an indexed Job gives to its pods."""
    objects = read()
    job, service = objects["Job"], objects["Service"]["metadata"]["name"]
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (port,) = container["ports"]
    workers = []
    for index in range(job["spec"]["completions"]):
        (text,) = (each["value"] for each in container["env"] if each["name"] == "TF_CONFIG")
        monkeypatch.setenv("TF_CONFIG", text.replace("$(INDEX)", str(index)))
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        assert (resolver.task_type, resolver.task_id) == ("worker", index)
        host = f"{job['metadata']['name']}-{index}.{service}"
        workers.append(f"{host}:{port['containerPort']}")
    assert resolver.cluster_spec().as_dict() == {"worker": workers}
    assert pod["subdomain"] == service and len(workers) == job["spec"]["parallelism"]


def test_its_command_is_one_of_ours():
    (container,) = read()["Job"]["spec"]["template"]["spec"]["containers"]
    program, *arguments = container["args"]
    assert (ROOT / "scripts" / program).is_file()
    assert make_parser().parse_args(arguments).config == "cartoonset64-duplex"
