"""The public API: what `import polyphony` gives to scripts and notebooks."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import polyphony
from polyphony.errors import InputError, MetricsError
from polyphony.simulation.study.study import StudyRunner

OPTIONS = {"population": "town", "agents": 12, "steps": 3, "policy": "null"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small run without a model."""
    return polyphony.run(**OPTIONS, seed=1, out=tmp_path_factory.mktemp("api") / "run.db", progress=False)


def test_every_published_name_exists_and_is_documented():
    for name in polyphony.__all__:
        thing = getattr(polyphony, name)
        assert name == "__version__" or thing.__doc__, name
    assert set(polyphony.__all__) == {"__version__", *polyphony._MODULES} and set(polyphony.__all__) <= set(
        dir(polyphony)
    )
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = polyphony.nothing


def test_importing_loads_nothing_heavy():
    code = "import polyphony, sys; print([m for m in ('torch', 'pandas', 'numpy', 'sqlalchemy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_run_without_a_model_does_not_wait_for_torch(tmp_path):
    run = f"polyphony.run(agents=4, steps=1, policy='null', progress=False, out={str(tmp_path / 'run.db')!r}).digest"
    code = f"import sys, polyphony; {run}; print([name for name in ('torch', 'transformers') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_settings_are_checked_and_give_others():
    settings = polyphony.Settings(agents=64, recommender="random")
    assert (
        settings["agents"] == 64 and settings["steps"] == 12 and settings.replace(agents=8)["recommender"] == "random"
    )
    assert repr(settings) == "Settings(agents=64, recommender='random')" and dict(settings)["agents"] == 64
    with pytest.raises(InputError, match="agent: no such option"):
        polyphony.Settings(agent=64)
    with pytest.raises(InputError, match="--agents 0 must be at least 1"):
        polyphony.Settings(agents=0)
    with pytest.raises(InputError, match="--recommender 'mine'"):
        polyphony.Settings(recommender="mine")


def test_a_run_is_data_frames(run):
    acts, posts, exposures, edges = run.acts, run.posts, run.exposures, run.edges
    assert len(run.agents) == 12 and (run.arm, run.seed, run.timesteps) == ("null", 1, 3)
    assert set(acts.agent) <= set(run.agents.agent) and (acts.outcome == "ok").any()
    assert posts[posts.kind == "post"].is_seed.sum() == 24 and set(exposures.post) <= set(posts.post)
    assert set(posts[posts.is_seed].kind) == {"post", "reply"}, "threads of the people's own stand there from the start"
    assert {"follow"} <= set(edges.kind) and (edges.source != edges.target).all()
    agent = posts[~posts.is_seed & (posts.text != "")].author.iloc[0]
    assert list(run.texts(agent).text) == list(
        posts[~posts.is_seed & (posts.author == agent) & (posts.text != "")].text
    )
    with pytest.raises(MetricsError, match="no agent 'nobody-here'"):
        run.texts("nobody-here")


def test_what_a_run_gives_is_a_copy(run):
    posts = run.posts
    posts["text"] = ""
    assert (run.posts.text != "").any()


def test_measurements_are_those_of_the_command_line(run):
    measured = polyphony.Run(run.source).measurements
    expected = run.measured.to_json()["measurements"]
    assert list(measured.index) == list(expected)
    for name in ("original_post_rate", "effective_communities", "vendi"):
        value = expected[name]["value"]
        assert (np.isnan(measured.value[name]) and value is None) or measured.value[name] == value
    assert len(run.digest) == 64


def test_a_run_is_not_written_over_and_goes_on(run):
    with pytest.raises(InputError, match="exists already"):
        polyphony.run(**OPTIONS, seed=1, out=run.source, progress=False)
    assert polyphony.run(**OPTIONS, seed=1, out=run.source, resume=True, progress=False).digest == run.digest
    with pytest.raises(InputError, match="holds another run"):
        polyphony.run(**OPTIONS, seed=2, out=run.source, resume=True, progress=False)


def test_a_file_that_is_no_run_is_refused(tmp_path):
    (tmp_path / "text.db").write_text("no database")
    for name, said in (("absent.db", "absent"), ("text.db", "text")):
        with pytest.raises(MetricsError, match=said):
            polyphony.Run(tmp_path / name)


def test_a_study_of_a_grid_is_one_tidy_frame_and_grows(tmp_path):
    grid = {"recommender": ["chronological", "random"], "followee_share": [0.0, 0.5]}
    frame = polyphony.study(grid, seeds=1, out=tmp_path / "study", progress=False, **OPTIONS)
    assert (tmp_path / "study" / "report.md").is_file()
    runs = frame.drop_duplicates("digest")
    assert len(runs) == 4 and set(zip(runs.recommender, runs.followee_share, strict=True)) == {
        (name, share) for name in grid["recommender"] for share in grid["followee_share"]
    }
    assert not frame.duplicated(["recommender", "followee_share", "agents", "seed", "measurement"]).any()
    more = polyphony.study(grid, seeds=2, out=tmp_path / "study", progress=False, **OPTIONS)
    assert set(runs.digest) < set(more.digest) and sorted(more.seed.unique()) == [0, 1]


def test_seeds_of_a_study_decide_together_where_asked(tmp_path, monkeypatch):
    asked = []

    def run(self, missing, at_once, finished, *, together, workers):
        asked.append((len(missing), at_once, together, workers))
        raise InputError("far enough")

    monkeypatch.setattr(StudyRunner, "run", run)
    for options in ({"together": 3}, {}):
        with pytest.raises(InputError, match="far enough"):
            polyphony.study({"arm": ["base"]}, seeds=3, out=tmp_path / "study", progress=False, **options, **OPTIONS)
    assert asked == [(3, 1, 3, None), (3, 1, 1, None)]
    with pytest.raises(InputError, match="^together 0 must be at least 1$"):
        polyphony.study({"arm": ["base"]}, together=0, out=tmp_path / "study", **OPTIONS)


@pytest.mark.parametrize(
    "grid, said",
    [
        ({"seed": [1, 2]}, "'seed' is not an option to cross"),
        ({"colour": ["red"]}, "'colour' is not an option to cross"),
        ({"recommender": "random"}, "needs a list of values"),
        ({"scenario": ["a+b.yaml"]}, "values of a grid hold none of"),
    ],
)
def test_a_grid_that_cannot_be_is_one_line(tmp_path, grid, said):
    with pytest.raises(InputError, match=said):
        polyphony.study(grid, out=tmp_path / "study", progress=False, **OPTIONS)
    assert not (tmp_path / "study").exists()


def test_runs_are_compared_by_any_option(tmp_path, run):
    others = [
        polyphony.run(**OPTIONS, seed=1, recommender="random", out=tmp_path / "random.db", progress=False),
    ]
    frame = polyphony.compare([run, *others], by="recommender", reference="attention")
    assert set(frame.recommender) == {"random"} and set(frame.reference) == {"attention"}
    rate = frame.set_index("measurement").loc["original_post_rate"]
    assert (
        rate.difference
        == others[0].measurements.value["original_post_rate"] - run.measurements.value["original_post_rate"]
    )
    assert isinstance(frame, pd.DataFrame) and rate.seeds == 1
    busy = polyphony.run(**OPTIONS, seed=1, activation=1.0, out=tmp_path / "busy.db", progress=False)
    with pytest.raises(MetricsError, match=r"feed\.recommender"):
        polyphony.compare([others[0], busy], by="activation")
    with pytest.raises(InputError, match="'colour' is no option"):
        polyphony.compare([run, *others], by="colour")


def test_the_command_line_compares_by_any_option_too(simulate, tmp_path, run):
    other = polyphony.run(**OPTIONS, seed=1, recommender="random", out=tmp_path / "random.db", progress=False)
    files = [run.source, other.source]
    command = ["compare", *files, "--by", "recommender", "--reference", "attention"]
    code, out, _ = simulate(*command, "--format", "markdown")
    assert code == 0 and "recommender" in out.splitlines()[0] and "| random" in out
    frame = polyphony.compare([run, other], by="recommender", reference="attention").set_index("measurement")
    _, text, _ = simulate(*command, "--json")
    differences = {row["measurement"]: row["difference"] for row in json.loads(text)["differences"]}
    assert differences["original_posts"] == frame.difference["original_posts"]
    code, _, lines = simulate("compare", *files, "--by", "seed")
    assert code == 2 and "paired by seed and agents" in lines[0]


def test_ones_own_recommender_policy_and_measurement_need_no_file_of_ours(tmp_path):
    @polyphony.recommender("api-shortest")
    class Shortest:
        def scores(self, view, agents, posts, now):
            return -np.array([[len(view.texts[post]) for post in posts]])

    @polyphony.policy("api-likes")
    class Likes:
        def __init__(self, context):
            self.seed = context.seed

        def decide(self, observations):
            return [self.one(observation) for observation in observations]

        def one(self, observation):
            places = observation.targets.get(polyphony.Verb.LIKE)
            return (
                polyphony.Decision(polyphony.Verb.LIKE, places[0])
                if places
                else polyphony.Decision(polyphony.Verb.NOTHING)
            )

    @polyphony.measurement("api_likes", title="Likes", definition="Number of likes.", unit="likes")
    def likes(run):
        return float((run.acts.act == "like").sum())

    options = {**OPTIONS, "policy": "api-likes", "recommender": "api-shortest", "activation": 4.0}
    done = polyphony.run(**options, out=tmp_path / "own.db", progress=False)
    assert (
        set(done.acts.act) <= {"like", "nothing"}
        and done.measurements.value["api_likes"] == (done.acts.act == "like").sum() > 0
    )
    shown = done.exposures.query("timestep == 0 and source == 'recommended'").merge(done.posts, on="post")
    feeds = shown.sort_values("position").groupby("agent").text.agg(lambda texts: list(texts.str.len()))
    assert len(feeds) and all(lengths == sorted(lengths) for lengths in feeds)


def test_what_newcomers_get_wrong_is_one_line(tmp_path, run):
    @polyphony.recommender("api-function")
    def scores(view, agents, posts, now):
        return np.zeros((1, len(posts)))

    options = {**OPTIONS, "out": tmp_path / "x.db", "progress": False}
    for call, said in (
        (lambda: polyphony.run("posts.csv", **options), "no polyphony.Settings"),
        (lambda: polyphony.run(**options, plugins="mine.py"), r"give a list, as \['mine.py'\]"),
        (lambda: polyphony.run(**options, recommender="api-function"), "recommender 'api-function': TypeError"),
        (lambda: polyphony.run(**{**options, "steps": True}), "steps: True: Input should be a int"),
        (lambda: polyphony.compare(run.source), "a list of two or more runs"),
        (lambda: polyphony.compare([run, run], by="seed"), "paired by seed and agents"),
        (lambda: polyphony.Bank(str(tmp_path / "nobank")), "no adapter bank here"),
    ):
        with pytest.raises(InputError, match=said):
            call()
    assert not (tmp_path / "x.db").exists()


def test_resuming_begins_where_nothing_is_there_and_goes_on_for_more_steps(tmp_path):
    out = tmp_path / "run.db"
    assert polyphony.run(**OPTIONS, out=out, resume=True, progress=False).timesteps == 3
    assert polyphony.run(**{**OPTIONS, "steps": 4}, out=out, resume=True, progress=False).timesteps == 4


def test_a_study_of_which_nothing_began_can_be_put_right(tmp_path):
    grid = {"policy": ["null"], "followee_share": np.linspace(0, 1, 2)}
    options = {"population": "town", "steps": 2, "seeds": 1, "out": tmp_path / "study", "progress": False}
    with pytest.raises(InputError, match="100000 agents are asked for"):
        polyphony.study(grid, agents=100_000, **options)
    frame = polyphony.study(grid, agents=8, **options)
    assert sorted(frame.followee_share.unique()) == [0.0, 1.0]
    assert "the policy `null` decides, without a model" in (tmp_path / "study" / "report.md").read_text()


def test_policies_are_compared_too(tmp_path, run):
    @polyphony.policy("api-nothing")
    class Nothing:
        def __init__(self, context):
            pass

        def decide(self, observations):
            return [polyphony.Decision(polyphony.Verb.NOTHING) for _ in observations]

    quiet = polyphony.run(**{**OPTIONS, "policy": "api-nothing"}, seed=1, out=tmp_path / "quiet.db", progress=False)
    frame = polyphony.compare([run, quiet], by="policy").set_index("measurement")
    assert set(frame.policy) == {"api-nothing"} and frame.difference["original_posts"] < 0
