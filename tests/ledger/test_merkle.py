"""
The tree, against vectors that others have published, and against the definition itself.

The eight leaves and their roots have accompanied Certificate Transparency implementations since RFC 6962; the proofs
are those that transparency-dev/merkle tests with.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import LedgerProofInvalid
from appliance.ledger.merkle import (
    EMPTY_ROOT,
    Fetch,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    range_hash,
    require_consistency,
    root_from_inclusion,
)

LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    bytes.fromhex(root)
    for root in (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    )
]
INCLUSION = [
    (0, 1, []),
    (
        *(0, 8),
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        *(5, 8),
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        *(1, 5),
        [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]
CONSISTENCY = [
    (1, 1, []),
    (
        *(1, 8),
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        *(6, 8),
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        *(2, 5),
        [
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
    (
        *(6, 7),
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
]


def fetching(leaves: list[bytes]) -> Fetch:
    """Return hashes of rows over *leaves*, by the definition."""

    def fetch(row: int, start: int, count: int) -> list[bytes]:
        width = 256**row
        return [
            defined_root(leaves[place * width : (place + 1) * width]) for place in range(start, start + count)
        ]

    return fetch


def defined_root(leaves: list[bytes]) -> bytes:
    """Return MTH(D[n]), word for word (RFC 6962 §2.1)."""
    if len(leaves) < 2:
        return leaf_hash(leaves[0]) if leaves else EMPTY_ROOT
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(defined_root(leaves[:split]), defined_root(leaves[split:]))


def numbered(size: int) -> list[bytes]:
    """Return *size* leaves, each another."""
    return [b"%d" % number for number in range(size)]


def hashes(*texts: str) -> list[bytes]:
    """Return published hashes as bytes."""
    return [bytes.fromhex(text) for text in texts]


@pytest.mark.parametrize("size", range(1, 9))
def test_published_roots(size: int) -> None:
    """The roots over the well-known eight leaves come out, however they are computed."""
    frontier = Frontier()
    frontier.append([leaf_hash(leaf) for leaf in LEAVES[:size]])
    assert frontier.root() == ROOTS[size - 1]
    assert range_hash(0, size, fetching(LEAVES)) == ROOTS[size - 1]
    assert defined_root(LEAVES[:size]) == ROOTS[size - 1]


def test_the_empty_tree() -> None:
    """A tree without leaves has the hash of nothing as its root."""
    assert Frontier().root().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(("index", "size", "proof"), INCLUSION)
def test_published_inclusion_proofs(index: int, size: int, proof: list[str]) -> None:
    """Published inclusion proofs are made, and lead to the published roots."""
    assert inclusion_proof(index, size, fetching(LEAVES)) == hashes(*proof)
    assert root_from_inclusion(index, size, leaf_hash(LEAVES[index]), hashes(*proof)) == ROOTS[size - 1]


@pytest.mark.parametrize(("old", "new", "proof"), CONSISTENCY)
def test_published_consistency_proofs(old: int, new: int, proof: list[str]) -> None:
    """Published consistency proofs are made, and accepted."""
    assert consistency_proof(old, new, fetching(LEAVES)) == hashes(*proof)
    require_consistency(old, new, ROOTS[old - 1], ROOTS[new - 1], hashes(*proof))


@given(st.lists(st.integers(0, 700), max_size=5))
def test_a_frontier_grows_by_any_portions(portions: list[int]) -> None:
    """In whatever portions leaves come, root and inner nodes are those of the definition."""
    leaves = numbered(sum(portions))
    frontier, done = Frontier(), 0
    for portion in portions:
        for node in frontier.append([leaf_hash(leaf) for leaf in leaves[done : done + portion]]):
            assert [node.hash] == fetching(leaves)(node.row, node.number, 1)
        done += portion
    assert frontier.size == len(leaves)
    assert frontier.root() == defined_root(leaves)
    assert Frontier(len(leaves), fetching(leaves)).root() == defined_root(leaves)


def test_a_frontier_crosses_two_rows() -> None:
    """At 65,536 leaves a node appears in two rows at once."""
    leaf = leaf_hash(b"")
    frontier = Frontier()
    assert len(frontier.append([leaf] * 65_535)) == 255
    assert [(node.row, node.number) for node in frontier.append([leaf])] == [(1, 255), (2, 0)]
    root = leaf
    for _ in range(16):
        root = node_hash(root, root)
    assert frontier.root() == root


@given(st.data(), st.integers(1, 600))
def test_every_leaf_can_be_proved(data: st.DataObject, size: int) -> None:
    """For every leaf of every tree there is a proof, and no other leaf, place or root passes with it."""
    index = data.draw(st.integers(0, size - 1))
    leaves = numbered(size)
    proof = inclusion_proof(index, size, fetching(leaves))
    root = defined_root(leaves)
    assert root_from_inclusion(index, size, leaf_hash(leaves[index]), proof) == root
    assert root_from_inclusion(index, size, leaf_hash(b"other"), proof) != root
    for wrong in ([*proof, root], proof[:-1]):
        if wrong != proof:
            with pytest.raises(LedgerProofInvalid):
                root_from_inclusion(index, size, leaf_hash(leaves[index]), wrong)


@given(st.data(), st.integers(0, 600))
def test_every_older_tree_can_be_proved(data: st.DataObject, new: int) -> None:
    """From every older tree there is a proof to the newer one, and from none that is different."""
    old = data.draw(st.integers(0, new))
    leaves = numbered(new)
    proof = consistency_proof(old, new, fetching(leaves))
    roots = (defined_root(leaves[:old]), defined_root(leaves))
    require_consistency(old, new, *roots, proof)
    wrongs = [(old, new, b"\0" * 32, roots[1], proof), (old, new, *roots, [*proof, roots[0]])]
    if 0 < old < new:
        wrongs += [(old, new, roots[0], b"\0" * 32, proof), (old, new, *roots, proof[:-1])]
    for wrong in wrongs:
        with pytest.raises(LedgerProofInvalid):
            require_consistency(*wrong)


def test_impossible_questions_are_our_own_bug() -> None:
    """Asking for the proof of a leaf or tree that cannot be is a ValueError; being given one is refused."""
    for index, size in ((0, 0), (1, 1), (-1, 3)):
        with pytest.raises(ValueError, match="no leaf"):
            inclusion_proof(index, size, fetching([]))
        with pytest.raises(LedgerProofInvalid):
            root_from_inclusion(index, size, ROOTS[0], [])
    with pytest.raises(ValueError, match="no later state"):
        consistency_proof(2, 1, fetching([]))
    with pytest.raises(LedgerProofInvalid):
        require_consistency(2, 1, ROOTS[1], ROOTS[0], [])
    with pytest.raises(LedgerProofInvalid, match="length"):
        root_from_inclusion(0, 2, ROOTS[0], [b"short"])
