"""From which commit a program was made: told where it is known, and never guessed."""

import json
from pathlib import Path

import pytest

from headscale.origin import Origin, commit_of, origin_of

COMMIT = "2a6b6601d23ecd5ed6c49ee3918c5f1fadcdb325"


def checkout(root: Path, head: str, **files: str) -> Path:
    """A checkout whose repository has this HEAD, and these files (__ for /)."""
    (root / "pyproject.toml").touch()
    git = root / ".git"
    git.mkdir()
    (git / "HEAD").write_text(f"{head}\n")
    for name, content in files.items():
        file = git / name.replace("__", "/").replace("packed", "packed-refs")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return root


def test_a_branch_or_a_commit_is_checked_out(tmp_path: Path) -> None:
    for number, (head, files) in enumerate(
        (
            (COMMIT, {}),
            ("ref: refs/heads/main", {"refs__heads__main": f"{COMMIT}\n"}),
            ("ref: refs/heads/main", {"packed": f"# pack-refs\n{COMMIT} refs/heads/main\n^{COMMIT[::-1]}\n"}),
        )
    ):
        root = tmp_path / str(number)
        root.mkdir()
        assert commit_of(checkout(root, head, **files)) == COMMIT


def test_a_worktree_has_its_branches_in_the_repository(tmp_path: Path) -> None:
    main, tree = tmp_path / "main", tmp_path / "tree"
    main.mkdir()
    tree.mkdir()
    checkout(main, "ref: refs/heads/main", refs__heads__side=COMMIT)
    (tree / "pyproject.toml").touch()
    of_tree = main / ".git" / "worktrees" / "tree"
    of_tree.mkdir(parents=True)
    (of_tree / "HEAD").write_text("ref: refs/heads/side\n")
    (of_tree / "commondir").write_text("../..\n")
    (tree / ".git").write_text(f"gitdir: {of_tree}\n")
    assert commit_of(tree) == COMMIT


@pytest.mark.parametrize("head", ["ref: refs/heads/none", "ref: ../../secret", "nonsense", ""])
def test_what_cannot_be_read_is_not_known(tmp_path: Path, head: str) -> None:
    (tmp_path / "secret").write_text(COMMIT[:-1])
    assert commit_of(checkout(tmp_path, head)) == ""


def test_what_lies_in_the_repository_of_something_else_is_not_of_its_commit(tmp_path: Path) -> None:
    """As site-packages may."""
    checkout(tmp_path, COMMIT)
    (tmp_path / "pyproject.toml").unlink()
    assert commit_of(tmp_path) == ""


def test_an_installer_wrote_down_where_it_had_it_from(tmp_path: Path) -> None:
    """PEP 610. A checkout may have been changed since; nobody can say of a package from elsewhere."""
    told = json.dumps({"url": "https://x", "vcs_info": {"vcs": "git", "commit_id": COMMIT}})
    assert origin_of(told, tmp_path) == Origin(COMMIT, dirty=False)
    for nothing in (None, "[", "[]", '{"archive_info": {}}', '{"vcs_info": {"commit_id": 5}}'):
        assert origin_of(nothing, tmp_path) == Origin("unknown", dirty=False)
    assert origin_of(None, checkout(tmp_path, COMMIT)) == Origin(COMMIT, dirty=True)
