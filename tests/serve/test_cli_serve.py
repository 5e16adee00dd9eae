"""serve, key and mcp on the command line, and what docs/serve.md says of them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
from click.testing import CliRunner
from serving import SOURCE, listening, process
from upstreams import Speaking

from mnemic.cli import main
from mnemic.serve.keys import Keys

DOCS = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", DOCS, re.DOTALL)


def run(*given: object) -> str:
    result = CliRunner().invoke(main, [str(one) for one in given])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_programs_of_the_documentation_run_as_they_stand(tmp_path: Path) -> None:
    with (
        listening(Speaking("He went to sea.").app) as url,
        process(tmp_path / "m.mnemic", OPENAI_BASE_URL=f"{url}/v1") as (_, address),
    ):
        said = []
        for program in blocks("python"):
            ran = subprocess.run(
                [sys.executable, "-c", program.replace("http://127.0.0.1:8377", address)],
                env=os.environ | {"PYTHONPATH": SOURCE, "MNEMIC_URL": address},
                capture_output=True, text=True, timeout=60,
            )  # fmt: skip
            assert ran.returncode == 0, ran.stderr
            said += ran.stdout.splitlines()
        assert said == ["Ishmael went to sea.", "Ishmael", "He went to sea."]
        turns = httpx.get(f"{address}/v1/records", params={"space": "sam"}).json()["records"]
        assert [turn["session"] for turn in turns] == ["c1", "c1"]


def test_the_configuration_in_the_documentation_is_the_one_that_is_printed() -> None:
    (configuration,) = blocks("json")
    assert run("mcp", "--json") == configuration
    narrow = json.loads(run("mcp", "--json", "--space", "ann", "--read"))
    assert narrow["mcpServers"]["mnemic"]["args"] == ["mcp", "--space", "ann", "--read"]


def test_a_key_is_shown_once_listed_and_revoked(tmp_path: Path) -> None:
    memory = ("--memory", tmp_path / "m.mnemic")
    key = run("key", "add", "--space", "sam", "--read", "--name", "phone", *memory).strip()
    access = Keys(tmp_path / "m.mnemic").access(key)
    assert access is not None
    assert (access.spaces, access.writes) == (frozenset({"sam"}), False)
    (listed,) = json.loads(run("key", "list", "--json", *memory))["keys"]
    assert (listed["name"], listed["spaces"], listed["writes"]) == ("phone", ["sam"], False)
    assert key.split("_", 2)[2] not in json.dumps(listed) + run("key", "list", *memory)
    assert "revoked" in run("key", "revoke", listed["id"], *memory)
    assert Keys(tmp_path / "m.mnemic").access(key) is None


def test_a_network_is_not_served_without_a_key(tmp_path: Path) -> None:
    for options in ([], ["--no-keys"], ["--keys"]):
        given = ["serve", "--host", "0.0.0.0", "--memory", str(tmp_path / "m.mnemic"), *options]
        refused = CliRunner().invoke(main, given)
        assert refused.exit_code == 1
        assert "mnemic key add" in refused.output


def test_keys_are_asked_for_once_there_is_one(tmp_path: Path) -> None:
    key = Keys(tmp_path / "m.mnemic").add(["sam"], writes=True)
    with process(tmp_path / "m.mnemic") as (_, address):
        assert httpx.get(f"{address}/v1/profile").status_code == 401
        opened = httpx.get(f"{address}/v1/profile", headers={"Authorization": f"Bearer {key}"})
        assert opened.status_code == 200
