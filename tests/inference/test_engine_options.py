"""Engine options on their way from `serve` through the database to an engine's command line."""

import pytest
from asgiref.sync import sync_to_async

from accounts.events import Hub
from inference.engine.options import OptionError, make
from inference.models import Deployment, Engine, Model
from inference.services import do_deploy_models, do_set_engine_options, endpoint_of
from inference.sources import Source
from inference.supervisor import EngineSupervisor, engine_argv

ONE = Source("one", "/models/one")
TWO = Source("two", "/models/two")


def stored_badly(model: Model) -> None:
    """As another version, or somebody with a database shell, may leave it."""
    Model.objects.filter(pk=model.pk).update(engine_options={"kv_bits": 3})


@pytest.mark.django_db
def test_a_model_keeps_its_options_while_it_is_not_served():
    (deployment,) = do_deploy_models([ONE], host="studio")
    assert do_set_engine_options(deployment.model, make({"max_num_seqs": 8, "runtime_mode": "auto"})) == {}
    do_deploy_models([TWO], host="studio")
    (again,) = do_deploy_models([ONE], host="studio")
    assert again.model.engine_options == {"max_num_seqs": 8}
    do_deploy_models([Source("one", "/moved/one")], host="studio")
    assert Model.objects.get(name="one").engine_options == {"max_num_seqs": 8}


@pytest.mark.django_db
def test_new_options_take_the_place_of_all_the_old_ones():
    (deployment,) = do_deploy_models([ONE], host="studio")
    do_set_engine_options(deployment.model, make({"max_num_seqs": 8, "deterministic": True}))
    before = do_set_engine_options(deployment.model, make({"timeout": 900}))
    assert before == {"max_num_seqs": 8, "deterministic": True}
    assert Model.objects.get().engine_options == {"timeout": 900.0}
    do_set_engine_options(deployment.model, make({"runtime_mode": "auto"}))
    assert Model.objects.get().engine_options == {}


@pytest.mark.django_db
def test_the_command_line_of_an_engine_names_what_differs():
    (deployment,) = do_deploy_models([ONE], host="studio")
    endpoint = endpoint_of(deployment)
    plain = engine_argv(deployment, endpoint)
    assert plain[-6:] == ["--model", "/models/one", "--name", "one", "--endpoint", endpoint]
    do_set_engine_options(deployment.model, make({"kv_bits": 8, "deterministic": False, "max_waiting": 5}))
    assert engine_argv(deployment, endpoint) == [*plain, "--max-waiting=5", "--kv-bits=8"]


@pytest.mark.django_db
def test_what_is_stored_wrongly_is_refused_by_name():
    (deployment,) = do_deploy_models([ONE], host="studio")
    stored_badly(deployment.model)
    with pytest.raises(OptionError, match="--kv-bits must be one of none, 8, 4, not 3"):
        engine_argv(Deployment.objects.get(), "ipc://x")


@pytest.mark.django_db(transaction=True)
async def test_such_an_engine_is_not_started_until_it_is_put_right(settings, tmp_path_factory):
    settings.SOCKET_DIR = tmp_path_factory.mktemp("run")
    (deployment,) = await sync_to_async(do_deploy_models)([ONE], host="studio")
    await sync_to_async(stored_badly)(deployment.model)
    with Hub():
        engines = EngineSupervisor("studio")
        try:
            await engines.reconcile()
            failure = (await engines.wait_decided())["one"]
            assert "--kv-bits must be one of none, 8, 4, not 3." in failure and "stored for one" in failure
            (refused,) = engines._keepers.values()
            assert refused.child.pid is None
            engine = await Engine.objects.aget()
            assert (engine.state, engine.last_error, engine.pid) == (Engine.State.FAILED, failure, None)

            await engines.reconcile()
            assert list(engines._keepers.values()) == [refused], "nothing has changed"
            await sync_to_async(do_set_engine_options)(deployment.model, make({"kv_bits": 4}))
            await engines.reconcile()
            (started,) = engines._keepers.values()
            assert started is not refused and started.refusal is None
            assert started.child.argv[-1] == "--kv-bits=4"

            await sync_to_async(do_set_engine_options)(deployment.model, make({"kv_bits": 8}))
            await engines.reconcile()
            assert list(engines._keepers.values()) == [started], "its requests are worth more than new options"
        finally:
            await engines.stop()
