"""The configuration file: what it gives, and how each mistake in it is told."""

from __future__ import annotations

import re

import pytest

from seaway import config
from seaway.errors import Invalid, SeawayError, SystemFailed, Undecodable


def test_without_a_file_every_setting_has_its_default(tmp_path):
    assert config.Config() == config.load(tmp_path / "seaway.toml")


def test_the_template_is_valid_and_changes_nothing():
    assert config.Config() == config.parse(config.TEMPLATE)


def test_every_line_of_the_template_shows_the_default():
    settings = re.sub(r"^#(\w+ =)", r"\1", config.TEMPLATE, flags=re.MULTILINE)
    shown = set(re.findall(r"^(\w+) =", settings, flags=re.MULTILINE))

    assert config.Config() == config.parse(settings)
    assert {"log_level", "attach", "mtu", "probes"} == shown


def test_settings_are_read(tmp_path):
    path = tmp_path / "seaway.toml"
    path.write_text('[agent]\nlog_level = "debug"\nattach = "cls_bpf"\n[network]\nmtu = 9000\n')
    expected = config.Config(
        agent=config.AgentConfig(log_level="debug", attach="cls_bpf"),
        network=config.NetworkConfig(mtu=9000),
    )

    assert expected == config.load(path)


@pytest.mark.parametrize(
    ("text", "kind", "complaint"),
    [
        ("[agent", Undecodable, "not TOML: "),
        (
            "[agnet]",
            Undecodable,
            "unknown key 'agnet' (expected sections: agent, network, routing)",
        ),
        (
            "[agent]\nlog = 1",
            Undecodable,
            "unknown key 'log' in section [agent] (expected: log_level, attach)",
        ),
        ("agent = 1", Undecodable, "Expected `object`, got `int` - at `$.agent`"),
        ('[agent]\nattach = "xdp"', Undecodable, "Invalid enum value 'xdp' - at `$.agent.attach`"),
        ("[network]\nmtu = 70000", Undecodable, "Expected `int` <= 65535 - at `$.network.mtu`"),
        ('[agent]\nattach = "xdp"', Undecodable, "(of attach expected: auto, tcx, cls_bpf)"),
        ('[network]\nmtu = "x"', Undecodable, "(of mtu expected: 0, or 1280 to 65535)"),
        ("agent = 1", Undecodable, "(expected a section [agent])"),
        ("[network]\nmtu = 900", Invalid, "network.mtu is 900 (expected 0, or 1280 and more)"),
    ],
)
def test_a_mistake_is_told_with_the_file_and_what_was_expected(tmp_path, text, kind, complaint):
    path = tmp_path / "seaway.toml"
    path.write_text(text)

    with pytest.raises(SeawayError) as caught:
        config.load(path)

    assert kind is type(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert complaint in str(caught.value)


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(SystemFailed, match="cannot be read: Is a directory"):
        config.load(tmp_path)


def test_a_file_that_is_no_text_is_told(tmp_path):
    path = tmp_path / "seaway.toml"
    path.write_bytes(b"\xff\xfe")

    with pytest.raises(Undecodable, match="is not UTF-8"):
        config.load(path)
