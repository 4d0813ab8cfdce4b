"""What tests do with testcontainers, against whichever daemon DOCKER_HOST names."""
import os
import time
import urllib.request

from testcontainers.core.container import DockerContainer
from testcontainers.core.image import DockerImage
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

SERVE = "mkdir /www; echo page >/www/index.html; echo ready; exec httpd -f -p 80 -h /www"

with Network() as network:
    web = (DockerContainer("busybox").with_command(["sh", "-c", SERVE]).with_exposed_ports(80)
           .with_network(network).with_network_aliases("web").with_env("WHO", "me")
           .with_kwargs(labels={"own": "yes"}, mem_limit="64m")
           .waiting_for(LogMessageWaitStrategy("ready").with_startup_timeout(20)))
    with web:
        address = f"http://{web.get_container_host_ip()}:{web.get_exposed_port(80)}/"
        for _ in range(100):
            try:
                page = urllib.request.urlopen(address, timeout=5).read()
                break
            except OSError:
                time.sleep(0.05)
        assert page == b"page\n", page
        status, output = web.exec(["sh", "-c", "echo $WHO; exit 3"])
        assert (status, output) == (3, b"me\n"), (status, output)
        assert web.get_logs() == (b"ready\n", b""), web.get_logs()
        # Another one asks by the alias.
        with DockerContainer("busybox").with_network(network).with_command("sleep 1000") as client:
            status, output = client.exec("busybox wget -qO- http://web/")
            assert (status, output) == (0, b"page\n"), (status, output)
        name = web.get_wrapped_container().name
    left = [container.name for container in web.get_docker_client().client.containers.list(all=True)]
    assert name not in left, left

with DockerImage(path=os.path.dirname(__file__), tag="made:v1", dockerfile_path="Dockerfile") as image:
    box = DockerContainer(str(image)).with_volume_mapping(os.path.dirname(__file__), "/here", "ro")
    with box.waiting_for(LogMessageWaitStrategy("built").with_startup_timeout(20)):
        status, output = box.exec(["head", "-n", "1", "/here/script.py"])
        assert status == 0 and b"testcontainers" in output, output
print("all is well")
