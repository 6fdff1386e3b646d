import subprocess
import sys


def test_importing_nn_does_not_import_torch():
    program = "import sys, lmkit.nn; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
