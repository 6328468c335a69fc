"""Variables and flags -> settings; wrong ones fail at start, by name."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.housekeeping import Housekeeping
from app.settings import PREFIX, Settings, SettingsError, load

# Every setting that is a number, and the largest that it may be; one without a bound is an error here.
MOST = {
    name: kind["maximum"]
    for name, field in Settings.model_json_schema()["properties"].items()
    for kind in (field, *field.get("anyOf", ()))
    if kind.get("type") in {"integer", "number"}
}
# So many processes and threads are a matter of the machine.
OF_THE_MACHINE = {"workers", "engine_threads", "concurrency"}


def test_without_anything_the_defaults_hold():
    settings = load({"PATH": "/bin", "HOME": "/root"})
    assert (settings.host, settings.port, settings.workers, settings.engine) == ("127.0.0.1", 8000, 1, "auto")
    assert settings.models == Path("var/models")


def test_models_lie_below_home_unless_set():
    assert load({"STEELSIGHT_HOME": "/srv"}).models == Path("/srv/models")
    assert load({"STEELSIGHT_HOME": "/srv", "STEELSIGHT_MODELS": "/mnt/m"}).models == Path("/mnt/m")


def test_a_flag_wins_over_a_variable_and_an_absent_flag_does_not():
    environ = {"STEELSIGHT_PORT": "9000", "STEELSIGHT_HOST": "::1"}
    settings = load(environ, {"port": "9001", "host": None})
    assert (settings.port, settings.host) == (9001, "::1")


def test_an_empty_variable_counts_as_not_set():
    assert load({"STEELSIGHT_STRIDE": "", "STEELSIGHT_PORT": ""}).port == 8000


def test_the_tests_own_variable_is_none_of_the_server_s():
    load({"STEELSIGHT_TEST_DATA": "/data"})


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"STEELSIGHT_PROT": "1"}, "STEELSIGHT_PROT is not a setting; did you mean STEELSIGHT_PORT?"),
        ({"STEELSIGHT_ZZZ": "1"}, "STEELSIGHT_ZZZ is not a setting"),
        (
            {"STEELSIGHT_PORT": "70000"},
            "STEELSIGHT_PORT: received '70000'; input should be less than or equal to 65535",
        ),
        ({"STEELSIGHT_ENGINE": "tpu"}, "STEELSIGHT_ENGINE: received 'tpu'; input should be 'auto', 'onnx', 'ke"),
        ({"STEELSIGHT_BODY_SECONDS": "nan"}, "STEELSIGHT_BODY_SECONDS: received 'nan'"),
        ({"STEELSIGHT_WORKERS": "two"}, "STEELSIGHT_WORKERS: received 'two'"),
    ],
)
def test_a_wrong_variable_is_named_with_what_is_expected(environ, says):
    with pytest.raises(SettingsError) as caught:
        load(environ)
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", MOST)
@given(
    value=st.integers(-3, 10**13).map(str)
    | st.integers().map(str)
    | st.floats().map(repr)
    | st.sampled_from(["9" * 400, "9" * 5000, "1e400", "-", " ", "\n", "0x10", "1_000"])
)
def test_a_number_is_within_its_bounds_or_refused_in_one_line(name, value):
    variable = PREFIX + name.upper()
    try:
        number = getattr(load({variable: value}), name)
    except SettingsError as error:
        assert str(error).startswith(f"{variable}: received ")
        assert "\n" not in str(error)
    else:
        assert 0 <= number <= MOST[name]


def test_a_mistake_is_not_told_again_by_what_follows_from_it():
    with pytest.raises(SettingsError) as caught:
        load({"STEELSIGHT_WORKERS": "two"})
    assert "CONCURRENCY" not in str(caught.value)


@pytest.mark.parametrize(("workers", "engine_threads"), [(1, 1), (2, 1), (1, 2), (256, 1), (1, 0), (1, 256)])
def test_threads_and_engine_threads_of_all_workers_are_as_many_as_cores(workers, engine_threads):
    cores = len(os.sched_getaffinity(0))
    settings = load({}, {"workers": workers, "engine_threads": engine_threads})
    in_all = workers * settings.concurrency * (engine_threads or cores)
    assert settings.concurrency >= 1
    assert in_all <= cores or settings.concurrency == 1


def test_a_wrong_flag_is_named_as_a_flag():
    with pytest.raises(SettingsError, match=r"^--port: received 'x'"):
        load({"STEELSIGHT_PORT": "8000"}, {"port": "x"})


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 1


def test_every_field_has_a_default_and_a_description():
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert not field.is_required(), name


@pytest.mark.anyio
async def test_the_largest_numbers_can_be_worked_with(start, tiny_models, png):
    largest = {name: value for name, value in MOST.items() if name not in OF_THE_MACHINE}
    # No frame is so large.
    async with start(models=tiny_models, **largest | {"min_side": 8}) as running:
        await running.until_ready()
        answer = await running.http.post("/v1/inspect", content=png, headers={"content-type": "image/png"})
        assert answer.status_code == 200
        keeping = Housekeeping(running.service)
        await keeping.close_idle_coils()
        await keeping.delete_images()
