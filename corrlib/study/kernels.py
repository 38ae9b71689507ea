"""A Jupyter kernel forked from this process, so that it has everything imported when it starts."""

import json
import os
import signal
import sys
import time
from importlib.metadata import EntryPoint
from pathlib import Path

from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner


class ForkedKernel:
    """A child of this process that waits to become a Jupyter kernel; looks like a subprocess.Popen.

    To be made before papermill opens sockets and event loops, which do not survive a fork.
    """

    stdin = stdout = stderr = None

    def __init__(self):
        reading, self._writing = os.pipe()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _become_kernel(reading)
        os.close(reading)

    def launch(self, arguments, environment, folder):
        """Become a kernel with these command line arguments."""
        with os.fdopen(self._writing, "w") as pipe:
            json.dump({"arguments": arguments, "environment": environment, "folder": str(folder)}, pipe)

    def poll(self):
        """Exit status, None while it lives."""
        if self.returncode is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if found:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self):
        while self.poll() is None:
            time.sleep(0.05)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def terminate(self):
        self.send_signal(signal.SIGTERM)


def _become_kernel(reading):
    """Wait for `launch` in the child, then serve as a kernel; never returns."""
    status = 1
    try:
        os.closerange(3, reading)  # the parent's sockets and pipes end with the parent
        os.closerange(reading + 1, 1024)
        with os.fdopen(reading) as pipe:
            message = pipe.read()
        if message:  # empty where the run ended before it needed a kernel
            request = json.loads(message)
            os.setsid()  # Ctrl-C goes to the run, which shuts its kernel down
            os.environ.clear()
            os.environ.update(request["environment"])
            os.chdir(request["folder"])
            sys.argv = ["ipykernel_launcher.py", *request["arguments"]]
            from ipykernel.kernelapp import IPKernelApp

            IPKernelApp.launch_instance(sys.argv[1:], parent_handle=os.getppid())
            status = 0
    finally:
        os._exit(status)


class ForkedProvisioner(LocalProvisioner):
    """Starts a kernel by telling the waiting process to become one."""

    waiting: ForkedKernel

    async def launch_kernel(self, cmd, **kwargs):
        folder = kwargs.get("cwd") or Path.cwd()
        self.waiting.launch(cmd[cmd.index("-f") :], dict(kwargs["env"]), folder)
        self.process, self.pid = self.waiting, self.waiting.pid  # pyrefly: ignore[bad-override-mutable-attribute]
        self.pgid, self.cwd = None, folder
        return self.connection_info


def use(kernel):
    """Let the notebook that this process executes next run in `kernel`, a ForkedKernel."""
    ForkedProvisioner.waiting = kernel
    factory = KernelProvisionerFactory.instance()
    factory.provisioners["forked"] = EntryPoint("forked", f"{__name__}:ForkedProvisioner", factory.GROUP_NAME)
    factory.default_provisioner_name = "forked"
