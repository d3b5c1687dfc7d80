"""What the library's files and functions keep to."""

import ast

from conftest import ROOT

FILES = sorted((ROOT / "scripts").rglob("*.py"))


def parameters(function: ast.FunctionDef) -> list[str]:
    given = function.args
    names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def test_no_public_function_has_more_than_eight_parameters():
    long = {
        f"{path.relative_to(ROOT)}: {node.name}": parameters(node)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name == "__init__")
    }
    assert {name: found for name, found in long.items() if len(found) > 8} == {}


def test_no_file_has_more_than_350_lines():
    assert {str(path.relative_to(ROOT)): n for path in FILES if (n := len(path.read_text().splitlines())) > 350} == {}
