"""Requests under a base patch with a name probe: what it finds is measured and said, in figures, caveats and
the certificate.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("sqlalchemy")

from cagul.deletion.caveats import caveats_of
from cagul.deletion.certificate import NAME_PROBE, as_markdown, certify, signing_key
from cagul.guard.guard import Guard
from cagul.guard.name_probe import NameProbe
from deletion_fixtures import pictures_of


@pytest.fixture
def probing(service, monkeypatch):
    """The service with a base patch that has a name probe, to which the host always says Dee Moss; its input
    gate recognises nobody once they are enrolled.
    """
    base = service.store_gate.base
    gate = base.config.gate.model_copy(update={"probe": "name"})
    service.store_gate.base = replace(base, config=base.config.model_copy(update={"gate": gate}))
    monkeypatch.setattr(
        NameProbe,
        "_ask",
        lambda self, inputs, tokens, images: [bool(self.names.spans("It is Dee Moss."))] * len(images),
    )
    own = type(service).guard

    def blind(self, **given):
        guard = own(self, **given)
        return Guard(guard.host, replace(guard.patch, threshold=2.0), check=False)

    monkeypatch.setattr(type(service), "guard", blind)
    return service


def certificate_of(service, tmp_path):
    document = certify(service.store, "r-1", signing_key(tmp_path / "signing.pem"))
    return as_markdown(document), document["limits"]


def test_what_the_probe_alone_finds_is_measured_and_certified(probing, records, tmp_path):
    given = [r for r in records if r.subject in ("p3", "p4") or r.group == "calibration"]
    added = probing.add("p3", pictures_of(records, "p3"), name="r-1", names=["Dee Moss"], records=given)
    figures = added.verification
    assert figures["hit_rate"]["value"] == figures["hit_rate_probe"]["value"] == 1.0
    assert figures["scope"]["name_probe"] == "asked"
    assert "absent" in figures["leak_name_stranger"]  # the probe fires on every stranger too
    page, limits = certificate_of(probing, tmp_path)
    assert "of these by the name alone that the host says" in page
    assert NAME_PROBE in limits
    again = probing.verify_again("r-1", pictures_of(records, "p3"), given, names=["Dee Moss"])
    assert again.verification["hit_rate_probe"]["value"] == 1.0


def test_a_person_without_a_name_is_not_found_by_the_probe_and_that_is_said(probing, records, tmp_path):
    probing.add("p2", pictures_of(records, "p2"), name="r-2", names=["Cy Venn"])
    added = probing.add("p3", pictures_of(records, "p3"), name="r-1")
    assert (added.state, added.verification["hit_rate_probe"]["value"]) == ("failed", 0.0)
    assert "cannot find them" in probing.caveats(added)["name-probe-without-name"]
    assert "cannot find them" in certificate_of(probing, tmp_path)[0]
    assert "name-probe-without-name" not in probing.caveats(probing.store.request("r-2"))


def test_a_probe_without_any_open_name_is_off_and_that_is_said(probing, records, tmp_path):
    added = probing.add("p3", pictures_of(records, "p3"), name="r-1")
    assert "hit_rate_probe" not in added.verification
    assert "was off" in caveats_of(added)["name-probe-off"]
    assert NAME_PROBE not in certificate_of(probing, tmp_path)[1]


def test_without_a_probe_nothing_is_said_of_one(service, records):
    added = service.add("p3", pictures_of(records, "p3"), name="r-1")
    assert not any("probe" in name for name in (*added.verification, *added.verification["scope"]))
    assert not any("probe" in name for name in service.caveats(added))
