"""Hosts agree on the tunnels between them without a word, whatever namespaces share them."""

from hypothesis import given
from hypothesis import strategies as st

from megatools.hostkit.tunnels import TunnelKind
from megatools.minimega.net.meshes import Span, Want, spans

B = "mega_bridge"
HOSTS = [f"10.0.0.{number}" for number in range(1, 7)]
MESHES = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d"]),
    st.tuples(
        st.sets(st.sampled_from(HOSTS), min_size=1),
        st.sampled_from(list(TunnelKind)),
        st.integers(1, 3),
        st.sampled_from([B, "other"]),
    ),
)


def wants_of(host: str, meshes: dict[str, tuple[set[str], TunnelKind, int, str]]) -> list[Want]:
    return [
        Want(namespace, bridge, kind, key, tuple(hosts - {host}))
        for namespace, (hosts, kind, key, bridge) in meshes.items()
        if host in hosts
    ]


@given(MESHES, st.booleans(), st.booleans())
def test_both_ends_of_a_pair_agree_and_are_joined_once(
    meshes: dict[str, tuple[set[str], TunnelKind, int, str]], here: bool, there: bool
) -> None:
    """Also when one end has its datapath in the kernel and the other in userspace."""
    for one in HOSTS:
        for other in HOSTS:
            if one == other:
                continue
            mine = [s for s in spans(wants_of(one, meshes), bridge=B, one_for_all=here) if other in s.remotes]
            theirs = [s for s in spans(wants_of(other, meshes), bridge=B, one_for_all=there) if one in s.remotes]
            assert [(s.kind, s.key) for s in mine] == [(s.kind, s.key) for s in theirs]
            together = any({one, other} <= hosts for hosts, _, _, bridge in meshes.values() if bridge == B)
            assert len(mine) == together


def test_one_device_takes_all_ends_of_a_key() -> None:
    want = Want("a", B, TunnelKind.VXLAN, 7, ("10.0.0.3", "10.0.0.2"))
    assert spans([want], bridge=B, one_for_all=True) == [Span(B, TunnelKind.VXLAN, 7, ("10.0.0.2", "10.0.0.3"))]
    each = [Span(B, TunnelKind.VXLAN, 7, ("10.0.0.2",)), Span(B, TunnelKind.VXLAN, 7, ("10.0.0.3",))]
    assert spans([want], bridge=B, one_for_all=False) == each
    assert spans([want], bridge="other", one_for_all=True) == []
    alone = Want("a", B, TunnelKind.GRE, 7, ())
    assert spans([alone], bridge=B, one_for_all=True) == []
