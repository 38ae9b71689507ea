"""Jupyter kernels of multiprocessing's fork server, which have everything imported (see corrlib.study.warm)."""

import multiprocessing
import os
import threading
from importlib.metadata import EntryPoint
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner


class ForkedKernel(ForkServerProcess):
    """A process that serves as a kernel, with what jupyter_client asks of a subprocess.Popen."""

    stdin = stdout = stderr = None

    def __init__(self, arguments: list[str], environment: dict[str, str], folder: str) -> None:
        super().__init__(name="kernel")
        self.arguments, self.environment, self.folder = arguments, environment, folder

    def run(self) -> None:
        """Serve as a kernel with these command line arguments, until it is shut down or its run has ended."""
        from ipykernel.kernelapp import IPKernelApp

        os.setsid()  # Ctrl-C goes to the run, which shuts its kernel down
        threading.Thread(target=_end_with_the_run, daemon=True).start()
        os.environ.clear()
        os.environ.update(self.environment)
        os.chdir(self.folder)
        # the fork server, which it is not to outlive either
        IPKernelApp.launch_instance(self.arguments, parent_handle=os.getppid())

    def poll(self) -> int | None:
        """Exit status, None while it lives."""
        return self.exitcode

    def wait(self) -> int | None:
        """Exit status, once it has ended."""
        self.join()
        return self.exitcode

    def send_signal(self, number: int) -> None:
        """As os.kill; nothing where it has ended."""
        if self.pid is not None and self.exitcode is None:
            os.kill(self.pid, number)


def _end_with_the_run() -> None:
    """A run that is killed cannot shut its kernel down."""
    run = multiprocessing.parent_process()
    if run is not None:
        run.join()
        os._exit(1)


class ForkedProvisioner(LocalProvisioner):
    """Starts kernels by the fork server from which this process descends."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Start the kernel that `cmd` describes; returns how it is reached."""
        self.cwd = str(kwargs.get("cwd") or Path.cwd())
        kernel = ForkedKernel(cmd[cmd.index("-f") :], dict(kwargs["env"]), self.cwd)
        kernel.start()
        self.process, self.pid = kernel, kernel.pid  # pyrefly: ignore[bad-override-mutable-attribute]
        return self.connection_info


def fork_kernels() -> None:
    """From now on, notebooks that this process executes get a ForkedKernel each."""
    factory = KernelProvisionerFactory.instance()
    factory.provisioners["forked"] = EntryPoint("forked", f"{__name__}:ForkedProvisioner", factory.GROUP_NAME)
    factory.default_provisioner_name = "forked"
