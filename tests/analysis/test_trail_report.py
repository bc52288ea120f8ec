"""The page on a trail: what it holds, and what a browser makes of it."""

import json
import re
from html.parser import HTMLParser

import browser as browsers
import numpy as np
import pytest
import trails

from hpcmp import analysis
from hpcmp.analysis import causes, trail_report
from hpcmp.analysis.layout import layout
from hpcmp.io import trail as files
from hpcmp.io.log import import_log

STEPS = 12
EVIL = ['<script>alert("1")</script>', "</script><b>x</b>", "\u2028&amp;", 'quote"\\', "é <!-- 猫", "a]]>b", "x\x01y"]
EVIL_TYPES = (
    ('<img src=x onerror="alert(2)">', trails.TYPES[0][1]),
    ("'reply'</script>", trails.TYPES[1][1]),
    trails.TYPES[2],
)
ENTER, DOWN = "\ue007", "\ue015"


@pytest.fixture(scope="module")
def records():
    return trails.in_order(trails.simulate(n_agents=7, n_steps=STEPS, seed=2, delays=(1, 3)))


@pytest.fixture(scope="module")
def trail(records, tmp_path_factory):
    folder = trails.write(tmp_path_factory.mktemp("t") / "t<r>&il", records, STEPS, 2, types=EVIL_TYPES)
    files.write_agents(folder, np.arange(7) * 10, names=EVIL)
    return analysis.open(folder)


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.data, self.within = [], {}, []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.within.append((tag, dict(attrs).get("id")))

    def handle_endtag(self, tag):
        while self.within and self.within.pop()[0] != tag:
            pass

    def handle_data(self, data):
        if self.within:
            self.data[self.within[-1]] = self.data.get(self.within[-1], "") + data


def data_of(trail, **options):
    return json.loads(Page(trail_report.report(trail, **options)).data["script", "data"])


def called(data):
    """Names of the messages of a page."""
    m = data["messages"]
    return [f"{data['names']['id'][s]}:{n}" for s, n in zip(m["sender"], m["number"], strict=True)]


# ---------------------------------------------------------------- what it holds


def test_the_page_holds_names_as_text_only(trail, records):
    text = trail_report.report(trail)
    page = Page(text)
    assert [tag for tag, _ in page.tags].count("script") == 2  # the data and our own
    assert "<script>alert" not in text and "</script><b>" not in text and "<img" not in text
    assert page.data["title", None] == "Trail t<r>&il"
    for tag, attrs in page.tags:  # nothing is loaded from anywhere
        assert tag not in ("link", "img", "iframe", "object", "base")
        assert not {"src", "srcset", "action"} & set(attrs)
        assert attrs.get("href", "#").startswith("#")
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|innerHTML|document\.write|eval\(", text)
    assert "default-src 'none'" in text


def test_the_page_holds_every_message_and_its_cause(trail, records):
    data = data_of(trail)
    names = called(data)
    assert names == [f"{r['sender']}:{r['number']}" for r in records]
    assert set(data["names"]["name"]) == set(EVIL)
    assert sum(map(sum, data["flow"]["counts"])) == len(records) == sum(data["status"])
    m = data["messages"]
    for k, r in enumerate(records):
        assert (m["at"][k] == -1) if r["cause"] is None else names[m["at"][k]] == "{}:{}".format(*r["cause"])
        assert (m["sent"][k], m["delivered"][k], m["status"][k]) == (r["step_sent"], r["step_delivered"], r["status"])
        assert data["names"]["name"][m["receiver"][k]] == EVIL[r["receiver"] // 10]
    value = np.frombuffer(records[0]["payload"], EVIL_TYPES[0][1])["id"][0] if records[0]["type"] == 0 else None
    assert value is None or m["payload"][0] == f"id={value}"


def test_a_large_trail_is_cut_to_whole_conversations(trail, records, monkeypatch):
    monkeypatch.setattr(trail_report, "MAX_MESSAGES", 20)
    data = data_of(trail, top=3)
    m = data["messages"]
    assert len(m["at"]) == 20 and data["n_messages"] == len(records)
    assert len(data["graph"]["agent"]) == len(data["load"]["columns"][0]) == 3
    by_name = {f"{r['sender']}:{r['number']}": r for r in records}
    held = called(data)
    for name, at in zip(held, m["at"], strict=True):
        assert (by_name[name]["cause"] is None) == (at == -1)  # causes are there with what they caused
    whole = {by_name[name]["conversation"] for name in held}
    left_out = [r for r in records if r["conversation"] in whole and f"{r['sender']}:{r['number']}" not in held]
    assert len({r["conversation"] for r in left_out}) <= 1  # of the last one that found room
    assert any(s > 1 for s in m["status"])


def test_pages_on_an_empty_trail_and_one_with_strange_numbers(tmp_path):
    empty = analysis.open(trails.write(tmp_path / "a", [], 3))
    assert data_of(empty)["messages"]["at"] == []
    r = trails.in_order(trails.simulate(n_steps=3, seed=1))
    r = [dict(x, payload=np.array((np.nan, b"\xff"), trails.TYPES[1][1]).tobytes()) if x["type"] == 1 else x for x in r]
    r = [
        x | {"number": x["number"] + 2**62, "cause": None, "conversation": (x["sender"], x["number"] + 2**62)}
        for x in r
    ]
    data = data_of(analysis.open(trails.write(tmp_path / "b", r, 3)))
    assert "value=nan tag=\ufffd" in data["messages"]["payload"]
    assert called(data)[0] == f"{r[0]['sender']}:{r[0]['number']}"  # which a browser would round


def test_the_layout_brings_together_what_is_tied():
    n = 300
    a, b = np.random.default_rng(1).integers(0, n, (2, 8000))
    kept = (a % 3 == b % 3) | (np.arange(8000) < 40)  # three groups, and a few ways between them
    a, b = a[kept], b[kept]
    xy = layout(n, a, b, np.ones(len(a), np.int64))
    assert xy.shape == (n, 2) and xy.min() == 0 and xy.max() == 1
    far = np.hypot(*(xy[:, None] - xy[None]).T)
    same = np.arange(n)[:, None] % 3 == np.arange(n) % 3
    assert far[same].mean() < far[~same].mean() / 2
    assert np.array_equal(xy, layout(n, a, b, np.ones(len(a), np.int64)))
    assert layout(0, a[:0], a[:0], a[:0]).shape == (0, 2) and np.isfinite(layout(1, a[:0], a[:0], a[:0])).all()


# ---------------------------------------------------------------- what a browser makes of it


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not browsers.IS_HERE:
        pytest.skip("there is no chromium with chromedriver on this machine")
    session = browsers.Browser(tmp_path_factory.mktemp("profile"))
    yield session
    session.close()


@pytest.fixture(scope="module")
def shown(browser, trail, tmp_path_factory):
    """A function that opens the page on the trail anew."""
    page = tmp_path_factory.mktemp("page") / "r.html"
    page.write_text(trail_report.report(trail), "utf-8")

    def open_page(place=""):
        browser.open(page.as_uri() + place)
        assert browser.logged("browser") == []
        assert browser.requests() == [page.as_uri()]
        return browser

    return open_page


def texts(browser, selector):
    return browser.run("return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector)


def ways(browser, kind):
    """Messages that the page lists as causes or effects of the one at hand."""
    script = "return [...document.querySelectorAll(`[data-way=${arguments[0]}] button`)].map(b => Number(b.dataset.k))"
    return browser.run(script, kind)


def test_it_opens_without_complaint_and_draws_all(shown, trail, records):
    page = shown()
    drawn = page.run(
        "return ['#graph circle', '#graph path.ways', '#flow rect'].map(s => [...document.querySelectorAll(s)]"
        ".map(e => e.getBoundingClientRect()).filter(r => r.width + r.height > 0 && r.right > 0).length)"
    )
    pairs = {(r["step_sent"], r["type"]) for r in records}
    assert drawn[0] == 7 and drawn[1] >= 1 and drawn[2] == len(pairs)
    assert texts(page, "#cards li")[0] == f"{len(records)}messages"
    assert len(texts(page, "#load tbody tr")) == 7
    pixels = page.run("const r = document.querySelector('#graph').getBoundingClientRect(); return [r.width, r.height]")
    assert pixels[0] > 1000 and pixels[1] > 400


def test_names_that_look_like_code_are_shown_and_run_nothing(shown, trail):
    page = shown()
    cells = texts(page, "#load td.name")
    assert sorted(cells) == sorted(EVIL)
    assert {kind for kind, _ in EVIL_TYPES} <= {text.rpartition(" ")[0] for text in texts(page, "#keys button")}
    assert page.run("return document.querySelectorAll('img, b.x, main script').length") == 0
    assert page.run("return document.scripts.length") == 2
    assert page.run("return document.title") == "Trail t<r>&il"
    for name in EVIL:  # each can be searched for: all its messages are found
        page.run("document.querySelector('#find').value = arguments[0]; search()", f"agent:{json.dumps(name)}")
        agent = EVIL.index(name) * 10
        expected = ((trail["sender"] == agent) | (trail["receiver"] == agent)).sum()
        assert texts(page, "#count") == [f"{expected} of {trail.n} here"]


def test_a_message_shows_its_causes_and_effects(shown, trail):
    page = shown()
    deep = max(range(trail.n), key=lambda row: len(causes.back(trail, row)))
    wide = max(range(trail.n), key=lambda row: len(causes.forward(trail, [row])))
    for row in (deep, wide):
        page = shown(f"#{trail.called(row)}")
        assert ways(page, "causes") == causes.back(trail, row)[1:].tolist()
        effects = [k for k in causes.forward(trail, [row]).tolist() if k != row]
        assert sorted(ways(page, "effects")) == effects
        reached = causes.agents_reached(trail, causes.forward(trail, [row]))
        if effects:
            assert f"{len(effects)} effect" in page.run("return document.querySelector('#one').textContent")
            assert f"they reached {len(reached)} agent" in page.run("return document.querySelector('#one').textContent")
    first = causes.back(trail, deep)[1]
    page = shown(f"#{trail.called(deep)}")
    page.run("document.querySelector('[data-way=causes] button').click()")
    assert page.run("return decodeURIComponent(location.hash)") == f"#{trail.called(first)}"
    assert ways(page, "causes") == causes.back(trail, first)[1:].tolist()


@pytest.mark.parametrize(
    "query, keep",
    [
        ("{0}", lambda r, name: name == "{0}"),
        ("step:3-5", lambda r, name: 3 <= r["step_sent"] <= 5),
        ("step:3 type:ping", lambda r, name: r["step_sent"] == 3 and r["type"] == 2),
        ("from:20 fate:dropped", lambda r, name: r["sender"] == 20 and r["status"] > 1),
        ("to:0", lambda r, name: r["receiver"] == 0),
        ("no such thing", lambda r, name: False),
    ],
)
def test_messages_are_found_by_name_agent_step_type_and_fate(shown, trail, records, query, keep):
    page = shown()
    query = query.format(trail.called(7))
    expected = [k for k, r in enumerate(records) if keep(r, trail.called(k)) or query == trail.called(k)]
    page.run("document.querySelector('#find').value = arguments[0]; search()", query)
    rows = page.run("return [...document.querySelectorAll('#rows tr')].map(r => Number(r.dataset.k))")
    assert rows == expected[:100]
    assert texts(page, "#count") == [f"{len(expected)} of {len(records)} here"]


def test_it_works_by_keys_pointer_and_touch_sizes(shown, browser, records):
    page = shown()
    page.run("document.querySelector('#graph').focus()")
    page.press(DOWN)
    tip = page.run("return document.querySelector('#tip').innerText")
    assert "load" in tip and any(name.strip() in tip for name in EVIL)
    page.press(ENTER)
    assert page.run("return document.querySelector('#find').value").startswith("agent:")
    page.run("document.querySelector('#rows tr').focus()")
    page.press(DOWN)
    assert page.run("return document.querySelector('#rows tr:nth-child(2)').getAttribute('aria-selected')") == "true"
    heads = page.run("return [...document.querySelectorAll('#load th')].map(h => h.dataset.name)")
    page.run("document.querySelectorAll('#load th button')[arguments[0]].click()", heads.index("received"))
    column = [int(x) for x in texts(page, f"#load td:nth-child({heads.index('received') + 1})")]
    assert column == sorted(column, reverse=True)
    x, y = page.run(
        "const f = document.querySelector('#flow'); f.scrollIntoView(); const r = f.getBoundingClientRect();"
        "return [r.x + 60, r.y + r.height / 2]"
    )
    page.point(x, y)
    assert "step 0" in page.run("return document.querySelector('#tip').innerText")
    page.point(x, y, click=True)
    assert page.run("return document.querySelector('#find').value") == "step:0"
    browser.cdp("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True)
    assert page.run("return document.documentElement.scrollWidth") == 390  # nothing has to be pushed aside
    browser.cdp("Emulation.clearDeviceMetricsOverride")
    assert page.logged("browser") == []


def test_the_page_on_a_real_log_is_small_and_opens(browser, data, tmp_path):
    import_log(data / "collegemsg" / "CollegeMsg.txt", tmp_path / "t", "sender,receiver,time")
    page = tmp_path / "r.html"
    page.write_text(trail_report.report(analysis.open(tmp_path / "t")), "utf-8")
    assert page.stat().st_size < 2 << 20
    browser.open(page.as_uri())
    assert browser.logged("browser") == []
    assert browser.run("return document.querySelectorAll('#graph circle').length") == 1899
    assert browser.run("return performance.timing.loadEventEnd - performance.timing.navigationStart") < 10_000
    assert browser.run("return document.querySelectorAll('#rows tr').length") == 100
