"""docs/attacks.md lists the attacks as the registry has them. Needs MITH_BIN, the folder of the binaries."""

import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "tools"))
import attack_page  # noqa: E402


class Page(unittest.TestCase):
    def test_it_is_what_the_registry_says(self):
        self.assertEqual(attack_page.PAGE.read_text(), attack_page.page(),
                         "docs/attacks.md is behind the registry: run python3 tests/tools/attack_page.py")

    def test_a_changed_page_is_noticed(self):
        one = {"name": "a", "group": "g|h", "summary": "x|y", "paper": "p", "facts": {}, "keys": []}
        text = attack_page.generated([one, dict(one, name="b"), dict(one, group="i")])
        self.assertEqual(text.count("## "), 2)
        self.assertIn("| `b` | x\\|y | - |", text)
        self.assertNotEqual(text, attack_page.generated([one]))


if __name__ == "__main__":
    unittest.main(verbosity=2)
