"""A JupyterLab of the tests' own: its port, token and folders, and nothing of the user's."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasutils import paths

QUIET = '{"fetchNews": "false", "checkForUpdates": false}'


@contextmanager
def jupyterlab(notebooks: Path, own: Path) -> Iterator[tuple[str, str]]:
    """Serve a folder of notebooks; yields the address, without a slash at its end, and the token.

    own: an empty folder for settings, runtime files and what the notebooks write.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token, address = secrets.token_hex(16), f"http://127.0.0.1:{port}"
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
        f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={notebooks}", "--LabApp.extension_manager=readonly",
    ]  # fmt: skip
    with open(own / "lab.log", "wb") as log:
        server = subprocess.Popen(
            command, cwd=notebooks, env=_environment(own), stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            _wait(f"{address}/api/status?token={token}", server, own / "lab.log")
            yield address, token
        finally:
            server.send_signal(signal.SIGINT)  # the server ends its kernels
            server.send_signal(signal.SIGINT)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)  # its own session: it and its kernels
                server.wait()


def _environment(own: Path) -> dict[str, str]:
    """The environment without anyone's settings of Jupyter and IPython."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "IPYTHON"))}
    folders = {
        name: str(own / name.lower())
        for name in (
            "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR",
            "JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR", "TAS_RESULTS",
        )
    }  # fmt: skip
    for folder in folders.values():
        Path(folder).mkdir()
    quiet = Path(folders["JUPYTERLAB_SETTINGS_DIR"]) / "@jupyterlab" / "apputils-extension"
    quiet.mkdir(parents=True)
    (quiet / "notification.jupyterlab-settings").write_text(QUIET)
    offline = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    package = os.pathsep.join(p for p in (str(paths.ROOT), kept.get("PYTHONPATH")) if p)
    return kept | folders | offline | {"TAS_HOME": str(paths.ROOT), "PYTHONPATH": package}


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.25)
    raise RuntimeError(f"JupyterLab did not start: {log.read_text(errors='replace')[-2000:]}")
