"""explore.py: images of states against those of generate.py, the server's answers, the page."""

import base64
import http.client
import io
import json
import threading
from contextlib import contextmanager
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image, ImageSequence

import gansformer
from dnnlib.errors import UserError
from gansformer.config import ModelConfig
from gansformer.explorer import Explorer, State
from gansformer.explorer_server import LONGEST_REQUEST, ExplorerServer
from gansformer.generation import noise_numbers
from gansformer.sampling import OpenModel, SamplingOptions
from gansformer.w_files import save_w
from scripts.generate import main as generate
from tests.browser import Browser, find_chromium
from tests.dnnlib.official_files import official_modules  # noqa: F401 (a fixture)
from tests.gansformer.conftest import TINY
from tests.gansformer.test_generation import read, save
from tests.gansformer.test_official_checkpoints import as_official, make_generator
from tests.gansformer.test_official_checkpoints import save as save_official


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("model") / "snapshot")


@pytest.fixture(scope="module")
def explorer(model):
    return Explorer(OpenModel(model, SamplingOptions()))


def explore(settings, folder, **image):
    """Return an Explorer of a new network, and the path of its snapshot."""
    generator, discriminator = gansformer.build(
        {"generator": settings, "discriminator": TINY["discriminator"]}, resolution=8, **image
    )
    generator.component_averages = np.zeros(
        [generator.config.latents, generator.config.component_dim], np.float32
    )
    config = ModelConfig(generator.config, discriminator.config)
    gansformer.save_snapshot(gansformer.Snapshot(config, 0, Gs=generator), folder / "model")
    path = str(folder / "model")
    return Explorer(OpenModel(path, SamplingOptions())), path


def state(**values):
    return State.parse(values)


def generated(model, out, *arguments):
    """Return the images that generate.py makes, [N, H, W, C]."""
    generate(["--model", model, "--out", str(out), *arguments])
    return np.stack([read(path) for path in sorted(out.glob("*.png"))]).astype(int)


def assert_same(image, expected):
    """Batches of another size are rounded in another way."""
    assert np.abs(image.astype(int) - expected).max() <= 1


def test_seeds_are_the_images_of_generate(explorer, model, tmp_path):
    expected = generated(model, tmp_path, "--seeds", "3,8", "--psi", "0.6")
    assert np.abs(expected[0] - expected[1]).max() > 5
    assert_same(explorer.image(state(seed=3, psi=0.6))[0], expected[0])
    assert_same(explorer.image(state(seed=8, psi=0.6))[0], expected[1])
    ends = {"seed": 3, "other_seed": 8, "psi": 0.6}
    assert_same(explorer.image(state(**ends, t=0))[0], expected[0])
    assert_same(explorer.image(state(**ends, t=1, noise_seed=8))[0], expected[1])


def test_all_components_of_another_seed_are_that_image(explorer, model, tmp_path):
    expected = generated(model, tmp_path, "--seeds", "8")[0]
    count = explorer.describe()["components"]
    edits = {str(k): {"seed": 8} for k in range(count)}
    assert_same(explorer.image(state(seed=3, noise_seed=8, components=edits))[0], expected)


def test_edits_stay_with_their_component_and_layers(explorer):
    before, other = explorer.w(state(seed=3)), explorer.w(state(seed=8))
    edit = {"2": {"seed": 8}}
    after = explorer.w(state(seed=3, components=edit, layers=[1, 2]))
    changed = np.zeros(before.shape[1:3], bool)
    changed[2, 1:3] = True
    np.testing.assert_array_equal(after[0, changed], other[0, changed])
    np.testing.assert_array_equal(after[0, ~changed], before[0, ~changed])


def test_moves_are_in_deviations_of_w(explorer):
    """Along the first direction, w of many seeds spreads by what a move of 1 is long."""
    one = explorer.w(state(seed=3, components={"1": {"moves": [1]}})) - explorer.w(state(seed=3))
    step = one[0, 1, 0]
    assert not np.delete(one, 1, axis=1).any()
    z = gansformer.latents(explorer.generator, range(1000))
    w = explorer.generator.mapping(z).numpy()[:, 1, 0]
    length = np.linalg.norm(step)
    assert np.std(w @ step / length) == pytest.approx(length, rel=0.1)
    total = np.linalg.norm(w - w.mean(axis=0), axis=1).std()
    assert length > total / w.shape[1]
    moved = explorer.w(state(seed=3, components={"1": {"moves": [0, -2]}}))
    assert abs((moved - explorer.w(state(seed=3)))[0, 1, 0] @ step) < 1e-3 * length**2


def test_noise(explorer, model, tmp_path):
    none = generated(model, tmp_path, "--seeds", "3", "--noise", "none")[0]
    assert_same(explorer.image(state(seed=3, noise=0))[0], none)


def test_attention_is_that_of_the_generator(explorer):
    image, maps = explorer.image(state(seed=3, psi=1.0))
    generator = explorer.generator
    out = generator(gansformer.latents(generator, [3]), seed=[3], return_attention=True)
    size = max(layer.shape[2] for layer in out.attention)
    expected = np.mean(
        [np.kron(np.mean(layer[0], axis=0).transpose(2, 0, 1),
                 np.ones([1, size // layer.shape[2], size // layer.shape[3]]))
         for layer in out.attention], axis=0)  # fmt: skip
    np.testing.assert_allclose(maps, expected.transpose(1, 2, 0), atol=1e-5)
    np.testing.assert_allclose(maps.sum(axis=-1), 1, atol=1e-5)
    answer = explorer.page_image(state(seed=3, psi=1.0))["attention"]
    values = np.frombuffer(base64.b64decode(answer["values"]), np.uint8).reshape(answer["size"])
    assert np.abs(values / 255 * maps.max() - maps).max() <= 0.5 / 255 * maps.max() + 1e-6


def test_attention_of_one_layer(explorer):
    generator = explorer.generator
    out = generator(gansformer.latents(generator, [3]), seed=[3], return_attention=True)
    layers = explorer.describe()["attention_layers"]
    assert len(layers) == len(out.attention) > 1
    for (layer, size), expected in zip(layers, out.attention, strict=True):
        maps = explorer.image(state(seed=3, psi=1.0, attention_layer=layer))[1]
        assert len(maps) == size
        np.testing.assert_allclose(maps, np.mean(expected[0], axis=0), atol=1e-5)


@pytest.mark.parametrize("noise", [1, 0.5])
def test_w_file_is_what_generate_takes(explorer, model, tmp_path, noise):
    values = state(seed=3, noise=noise, components={"1": {"seed": 9, "moves": [1]}})
    (tmp_path / "w.npz").write_bytes(explorer.w_file(values))
    out = generated(model, tmp_path / "out", "--w", str(tmp_path / "w.npz"))
    assert_same(explorer.image(values)[0], out[0])


def test_a_file_of_w_is_where_one_begins(model, tmp_path):
    """As project.py writes, with noise of its own."""
    plain = Explorer(OpenModel(model, SamplingOptions()))
    made = [state(seed=3, noise=0.5), state(seed=8, noise=0.5)]
    path = tmp_path / "w.npz"
    numbers = [0.5 * noise_numbers(plain.generator, [seed]) for seed in (3, 8)]
    w = np.concatenate([plain.w(values) for values in made])
    save_w(path, plain.generator, w, [3, 8], np.concatenate(numbers))
    explorer = Explorer(OpenModel(model, SamplingOptions(w=path)))
    assert explorer.describe()["rows"] == 2 and explorer.describe()["first_state"]["row"] == 0
    for row in (0, 1):
        expected = plain.image(made[row])[0]
        np.testing.assert_array_equal(explorer.image(state(row=row, psi=0.1))[0], expected)
        np.testing.assert_array_equal(
            np.load(io.BytesIO(explorer.w_file(state(row=row))))["noise"], numbers[row]
        )
    with pytest.raises(UserError, match="no w number 2"):
        explorer.image(state(row=2))
    with pytest.raises(UserError, match="by --w"):
        plain.image(state(row=0))


def test_gif_goes_there_and_back(explorer):
    values = state(seed=3, other_seed=8, noise=0)
    with Image.open(io.BytesIO(explorer.gif(values))) as video:
        frames = [np.array(f.convert("RGB")).astype(int) for f in ImageSequence.Iterator(video)]
    assert len(frames) == 48
    np.testing.assert_array_equal(frames[1], frames[-1])
    for frame, seed in ((frames[0], 3), (frames[24], 8)):
        assert np.abs(frame - explorer.image(state(seed=seed, noise=0))[0]).mean() < 2
    with pytest.raises(UserError, match="second seed"):
        explorer.gif(state(seed=3))


def test_stylegan2_has_one_component(tmp_path):
    settings = {"channel_base": 64, "channel_max": 16, "latent_size": 16}
    explorer, path = explore(settings, tmp_path)
    facts = explorer.describe()
    assert facts["components"] == 1 and not facts["has_attention"] and not facts["has_global"]
    image, maps = explorer.image(state(seed=2, components={"0": {"moves": [1.0]}}))
    assert maps is None and "attention" not in explorer.page_image(state(seed=2))
    expected = generated(path, tmp_path / "out", "--seeds", "2,5")
    assert np.abs(image - expected[0]).max() > 1
    assert_same(explorer.image(state(seed=2))[0], expected[0])


def test_conditional(tmp_path):
    explorer, path = explore(TINY["generator"], tmp_path, label_dim=3)
    facts = explorer.describe()
    assert facts["classes"] == ["0", "1", "2"] and facts["first_state"]["label"] == "0"
    expected = generated(path, tmp_path / "out", "--seeds", "4", "--label", "2")[0]
    image = explorer.image(state(seed=4, label="2"))[0]
    assert_same(image, expected)
    assert np.abs(explorer.image(state(seed=4, label="1"))[0].astype(int) - image).max() > 1
    with pytest.raises(UserError, match="conditional"):
        explorer.image(state(seed=4))
    with pytest.raises(UserError, match="none of"):
        explorer.image(state(seed=4, label="cats"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "expected an object"),
        ({"seeds": 1}, 'did you mean "seed"'),
        ({"seed": None}, "seed: expected a whole"),
        ({"seed": -1}, "seed: expected a whole"),
        ({"seed": 2**63}, "seed: expected a whole"),
        ({"seed": True}, "seed: expected a whole"),
        ({"seed": 1.5}, "seed: expected a whole"),
        ({"psi": "1"}, "psi: expected a number"),
        ({"psi": float("nan")}, "psi: expected a number"),
        ({"noise": float("inf")}, "noise: expected a number"),
        ({"t": 1.01}, "t: expected a number from 0 to 1"),
        ({"label": 3}, "label: expected text"),
        ({"label": "cats"}, "not conditional"),
        ({"layers": [0]}, "layers: expected"),
        ({"layers": [2, 1]}, "layers: expected"),
        ({"layers": [0, 99]}, "layers: expected"),
        ({"layers": "01"}, "layers: expected"),
        ({"attention_layer": "x"}, "attention_layer: expected a whole"),
        ({"attention_layer": 0}, "layers these have attention: 1"),
        ({"components": []}, "components: expected"),
        ({"components": {"-1": {}}}, "no number of a component"),
        ({"components": {"99": {}}}, "this model has 0 to 4"),
        ({"components": {"1": {"seed": "x"}}}, "seed: expected a whole"),
        ({"components": {"1": {"moves": [0] * 6}}}, "moves: expected a list"),
        ({"components": {"1": {"moves": [1e9]}}}, "moves: expected a number"),
        ({"components": {"1": {"shift": 1}}}, "has no shift"),
    ],
)
def test_bad_states(explorer, values, message):
    with pytest.raises(UserError, match=message):
        explorer.image(State.parse(values))


@contextmanager
def serving(explorer):
    """Serve an explorer in another thread."""
    with ExplorerServer(explorer, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def server(explorer):
    with serving(explorer) as server:
        yield server


def ask(server, path, body=None, **headers):
    """Return (status, type, content) of an answer; a POST where there is a body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **headers}
    connection.request("GET" if body is None else "POST", path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers.get_content_type(), content


def test_answers(server, explorer):
    status, kind, page = ask(server, "/")
    assert (status, kind) == (200, "text/html") and b"<canvas" in page
    status, kind, facts = ask(server, "/model")
    assert (status, kind) == (200, "application/json") and json.loads(facts)["components"] == 5
    values = {"seed": 3, "components": {"1": {"seed": 5}}}
    status, kind, content = ask(server, "/image", values)
    assert (status, kind) == (200, "application/json")
    png = base64.b64decode(json.loads(content)["image"])
    expected = explorer.image(State.parse(values))[0]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), expected)
    status, _, content = ask(server, "/w.npz", values)
    w = np.load(io.BytesIO(content))["w"]
    assert status == 200
    np.testing.assert_array_equal(w, explorer.w(State.parse(values)))
    status, kind, content = ask(server, "/video.gif", {"seed": 3, "other_seed": 4})
    assert (status, kind) == (200, "image/gif") and content.startswith(b"GIF89a")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 50_000,
        b"\xff",
        b'{"psi": NaN}',
        b'{"\\n": 1}',
        b" " * LONGEST_REQUEST + b"{}",
    ],
)
def test_bad_requests_get_one_line(server, body):
    status, kind, content = ask(server, "/image", body)
    assert (status, kind) == (400, "text/plain") and content.count(b"\n") == 1 < len(content)


def test_only_its_own_page_is_answered(server):
    port = server.server_port
    own = f"127.0.0.1:{port}"
    assert ask(server, "/image", {}, Host=own, Origin=f"http://{own}")[0] == 200
    assert ask(server, "/model", Host=f"localhost:{port}")[0] == 200
    for host in (
        "evil.example",
        f"127.0.0.1.evil.example:{port}",
        "",
        "[",
        "localhost.evil.example",
    ):
        assert ask(server, "/model", Host=host)[0] == 403
        assert ask(server, "/image", {}, Host=host)[0] == 403
    for origin in ("http://evil.example", "null", f"https://{own}"):
        assert ask(server, "/image", {}, Host=own, Origin=origin)[0] == 403
    assert ask(server, "/image", {}, Content_Type="text/plain")[0] == 400


@pytest.mark.parametrize(
    "path", ["/../setup.py", "//etc/passwd", "/explorer.html", "/%2e%2e/x", "/?a"]
)
def test_no_other_path_is_served(server, path):
    assert ask(server, path)[0] == 404
    assert ask(server, path, {})[0] == 404


def test_a_port_in_use_is_one_line(server, explorer):
    with pytest.raises(UserError, match="choose another --port"):
        ExplorerServer(explorer, "127.0.0.1", server.server_port)


@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason="Chromium is not installed")
def test_the_page(server, explorer, tmp_path):
    def shown():
        """Return what the page says that it shows, once the image is there."""
        browser.wait("!isBusy && image !== null")
        return json.loads(unquote(browser.run("location.hash.slice(1)")))

    def image():
        """Return the image that the page shows."""
        shown()
        png = base64.b64decode(browser.run("image.src").partition(",")[2])
        return np.asarray(Image.open(io.BytesIO(png))).astype(int)

    def expected(values):
        return explorer.image(State.parse(values))[0]

    with Browser(tmp_path) as browser:
        browser.open(server.url)
        browser.wait("typeof image !== 'undefined' && image !== null")
        first = shown()
        assert_same(image(), expected(first))

        # A click selects the component that attends there most.
        maps = explorer.image(State.parse(first))[1]
        row, column = 1, maps.shape[1] - 2
        browser.click("#canvas", (column + 0.5) / maps.shape[1], (row + 0.5) / maps.shape[0])
        component = int(maps[row, column].argmax())
        assert browser.run("selected") == component

        browser.click("#resample")
        resampled = shown()
        assert list(resampled["components"]) == [str(component)]
        assert np.abs(image() - expected(first)).max() > 0
        assert_same(image(), expected(resampled))

        browser.run("$('psi').value = 0.3; $('psi').dispatchEvent(new Event('input'));"
                    "$('psi').dispatchEvent(new Event('change'))")  # fmt: skip
        moved = shown()
        assert moved == {**resampled, "psi": 0.3}
        assert_same(image(), expected(moved))

        browser.click("#save-image")
        browser.wait("$('message').textContent.startsWith('saved')")
        browser.click("#save-w")
        browser.wait("$('message').textContent === 'saved w.npz'")
        for name in ("seed0.png", "w.npz"):
            browser.wait("new Promise((done) => setTimeout(() => done(true), 300))")
            assert (tmp_path / name).is_file()
        np.testing.assert_array_equal(read(tmp_path / "seed0.png"), image())
        np.testing.assert_array_equal(
            np.load(tmp_path / "w.npz")["w"], explorer.w(State.parse(moved))
        )

        # The attention of one layer, in place of the average.
        layer, size = explorer.describe()["attention_layers"][0]
        browser.run("$('overlay').value = 'all'; $('overlay').dispatchEvent(new Event('change'));"
                    f"$('attention_layer').value = '{layer}';"
                    "$('attention_layer').dispatchEvent(new Event('change'))")  # fmt: skip
        assert shown() == {**moved, "attention_layer": layer}
        assert browser.run("attention.size[0]") == size < len(maps)
        answer = explorer.page_image(State.parse(shown()))["attention"]
        drawn = browser.run("btoa(String.fromCharCode(...attention.values))")
        assert drawn == answer["values"]
        browser.screenshot(tmp_path / "layer.png")
        browser.click("#undo")
        browser.wait("state.attention_layer === undefined")
        assert browser.run("$('attention_layer').value") == ""
        assert shown() == moved

        link = browser.run("location.href")
        for before in (resampled, first):
            browser.click("#undo")
            text = json.dumps(json.dumps(before, separators=(",", ":")))
            browser.wait(f"location.hash === '#' + encodeURIComponent({text})")
            assert_same(image(), expected(before))
        assert browser.run("$('undo').disabled && !$('redo').disabled")
        browser.click("#redo")
        browser.wait("Boolean(state.components)")
        assert shown() == resampled

        browser.open("about:blank")
        browser.open(link)
        browser.wait("typeof image !== 'undefined' && image !== null")
        assert_same(image(), expected(moved))
        for width in (400, 1280):
            browser.resize(width, 900)
            assert browser.run("document.documentElement.scrollWidth <= innerWidth"), width
        assert not browser.errors


# The official program's for 256x256 faces (--ganformer-default --dataset ffhq).
OFFICIAL = {
    "resolution": 256, "channel_base": 16384, "channel_max": 512, "num_channels": 3, "z_dim": 32,
    "w_dim": 32, "components_num": 16, "transformer": True, "kmeans": True, "kmeans_iters": 1,
    "use_pos": True, "mapping_resnet": True, "mapping_ltnt2ltnt": True, "architecture": "resnet",
    "norm": "layer", "integration": "mul", "num_heads": 1, "start_res": 0, "end_res": 8,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(find_chromium() is None, reason="Chromium is not installed")
def test_the_page_of_an_official_network_of_256_pixels(tmp_path, official_modules):  # noqa: F811
    """Of full width; the weights are random."""
    network = as_official(make_generator(OFFICIAL), "Gs", "Generator", OFFICIAL)
    save_official(tmp_path / "network-snapshot-005000.pkl", network)
    opened = OpenModel(str(tmp_path / "network-snapshot-005000.pkl"), SamplingOptions())
    explorer = Explorer(opened)
    explorer.prepare()
    layer, size = explorer.describe()["attention_layers"][2]
    ready = "typeof isBusy !== 'undefined' && !isBusy && image !== null"
    times, seen = [], []
    with serving(explorer) as server, Browser(tmp_path) as browser:
        browser.open(server.url)
        for act in (
            "",
            "$('resample').click()",
            "$('psi').value = 0.4; $('psi').dispatchEvent(new Event('input'))",
            f"$('attention_layer').value = '{layer}'; "
            "$('attention_layer').dispatchEvent(new Event('change'))",
        ):
            browser.wait(ready)
            browser.run(act)
            browser.wait(f"{ready} && / ms$/.test($('message').textContent)")
            times.append(browser.run("parseInt($('message').textContent)"))
            assert browser.run("image.width") == browser.run("image.height") == 256
            seen.append(browser.run("image.src"))
        browser.click("#canvas", 0.3, 0.6)
        assert browser.run("attention.size") == [size, size, 16]
        assert browser.run("Number.isInteger(selected) && selected < 16")
        browser.screenshot(tmp_path / "page.png")
        assert not browser.errors
    assert len(set(seen)) == 3  # the attention shown does not change the image
    print(f"milliseconds until an image of 256 pixels is shown: {times}")
