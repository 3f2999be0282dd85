"""What is in the image, and what is not."""

import importlib.metadata
import json
import tomllib

import pytest

from tests.image.engine import ROOT, Engine, run

# The limit for the whole image, which Fargate pulls for each task anew.
LARGEST = 60_000_000

EVERYTHING = """
import importlib, pkgutil, sys, os, task_helper, task_helper_taskdef, botocore.session
botocore.session.get_session().create_client("ecs", region_name="eu-west-1")
for package in (task_helper, task_helper_taskdef):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
"""


def python(engine: Engine, image: str, program: str, *options: str) -> str:
    """What a program prints that the image's own Python runs."""
    return engine.output(image, "-c", program, options=("--entrypoint", "python3", *options))


def test_size(engine: Engine, image: str) -> None:
    """The whole image, its base included, has at most 60 MB: less than half of what python:3.13-slim has."""
    assert engine.size(image) <= LARGEST


def test_configuration(engine: Engine, image: str) -> None:
    """It runs `task-helper run` without a shell, as a numeric user who is not root, with a health check."""
    configuration = engine.inspect("image", image)["Config"]
    user, group = map(int, configuration["User"].split(":"))
    assert user > 0 and group > 0
    assert configuration["Entrypoint"] == ["task-helper"]
    assert configuration["Cmd"] == ["run"]
    assert configuration["Healthcheck"]["Test"] == ["CMD", "task-helper", "healthcheck"]


def test_labels(engine: Engine, image: str) -> None:
    """The OCI labels state the version, the commit and its time, the licence and the base."""
    labels = engine.inspect("image", image)["Config"]["Labels"]
    stated = {name.removeprefix("org.opencontainers.image."): value for name, value in labels.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert stated["title"] == project["name"]
    assert stated["version"] == project["version"]
    assert stated["licenses"] == project["license"]
    assert stated["revision"] == run("git", "rev-parse", "HEAD").strip()
    assert stated["created"] == run("git", "log", "-1", "--format=%cI").strip()
    assert stated["base.name"] == engine.base
    assert stated["description"]


def test_version(engine: Engine, image: str) -> None:
    """The program in the image is the version that pyproject.toml names."""
    assert engine.output(image, "--version").split()[1] == importlib.metadata.version("ecs-task-helper")


@pytest.mark.parametrize("user", ["1337", "0", "4000000:4000000"])
def test_any_user(engine: Engine, image: str, user: str) -> None:
    """Any user may run it, known to the image or not, with a root file system that can not be written."""
    assert "SIGTERM" in engine.output(image, "plan", options=("--user", user))


def test_bill_of_materials(engine: Engine, image: str) -> None:
    """`make sbom` lists what is installed in the image: the same packages in the same versions."""
    run("make", "sbom")
    materials = json.loads((ROOT / "dist" / "sbom.cdx.json").read_text())
    listed = {each["name"]: each["version"] for each in materials["components"]}
    installed = json.loads(
        python(
            engine,
            image,
            "import importlib.metadata as m, json, sys; path = [p for p in sys.path if p.startswith('/opt/')]\n"
            "print(json.dumps({d.name: d.version for d in m.distributions(path=path)}))",
        )
    )
    installed.pop("ecs-task-helper")
    assert listed == installed


def test_programs(engine: Engine, image: str) -> None:
    """There is nothing to run but Python, the helper and `env`: no shell, no package manager, nothing setuid."""
    found = python(
        engine,
        image,
        "import os, stat\n"
        "for top in ('/usr', '/opt', '/etc', '/var', '/tmp'):\n"
        "    for folder, _, names in os.walk(top):\n"
        "        for name in names:\n"
        "            mode = os.lstat(f'{folder}/{name}').st_mode\n"
        "            program = stat.S_ISREG(mode) and mode & 0o111 and not name.endswith('.py') and '.so' not in name\n"
        "            if program or mode & (stat.S_ISUID | stat.S_ISGID): print(name)\n",
    )
    assert sorted(found.split()) == ["env", "python3.13", "task-helper"]


def test_packages(engine: Engine, image: str) -> None:
    """A scanner finds out which Debian this is, and the package and version of each library; of no others."""
    found = python(
        engine,
        image,
        "import glob\n"
        "fields = [dict(line.split(': ', 1) for line in open(path) if ': ' in line) for path in"
        " glob.glob('/var/lib/dpkg/status.d/*')]\n"
        "print(*sorted(each['Package'].strip() for each in fields if each['Version'].strip()))\n"
        "print(open('/etc/os-release').read())\n",
    )
    packages, _, system = found.partition("\n")
    assert {"coreutils", "libc6", "libssl3t64", "zlib1g", "libffi8"} <= set(packages.split())
    assert not {"bash", "dash", "apt", "dpkg", "perl-base", "openssl"} & set(packages.split())
    assert "ID=debian" in system


def test_names_are_looked_up(engine: Engine, image: str) -> None:
    """Host names resolve, which DRAIN_DELAY=auto and ENVOY_ADMIN_URL in bridge mode need."""
    program = "import socket; print(socket.getaddrinfo('localhost', 80, socket.AF_INET)[0][4][0])"
    assert python(engine, image, program) == "127.0.0.1\n"


def test_nothing_left_over(engine: Engine, image: str) -> None:
    """No cache, source tree or installer is in the image."""
    found = python(
        engine,
        image,
        "import os\n"
        "print(*(path for path in ('/build', '/root/.cache', '/.cache') if os.path.exists(path)))\n"
        "print(*os.listdir('/tmp'))\n"
        "packages = [p for p in __import__('sys').path if p.startswith('/opt/')][0]\n"
        "print(*(name for name in ('pip', 'setuptools', 'poetry') if os.path.exists(f'{packages}/{name}')))\n"
        "print(*sorted(os.listdir('/opt')), *(n for n in os.listdir('/opt/task-helper/bin') if n.startswith('pip')))\n",
        "--user=0",
    )
    assert found.split("\n") == ["", "", "", "task-helper", ""]


def test_byte_code(engine: Engine, image: str) -> None:
    """Every module that the program can import has its byte code in the image, the standard library's included."""
    missing = python(
        engine,
        image,
        EVERYTHING
        + "for name, module in sys.modules.items():\n"
        + "    cached = getattr(module, '__cached__', None)\n"
        + "    if cached and not os.path.exists(cached): print(name, cached)\n",
    )
    assert missing == ""


def test_service_models(engine: Engine, image: str) -> None:
    """Of botocore's service models only those are left that the program, or its credentials, may use."""
    services = python(engine, image, "import botocore.session as s; print(*s.get_session().get_available_services())")
    assert services.split() == ["ecs", "servicediscovery", "sts"]
