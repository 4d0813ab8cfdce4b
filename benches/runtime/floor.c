/* The floor of `run`: the system calls that make, run and remove a container with runc's default
 * configuration, and nothing else. No configuration is read, nothing is checked, nothing is written
 * down, no failure is undone, and nothing keeps a container from this program's own file.
 *
 *   cc -O2 -static -o floor floor.c && ./floor ROOTFS /bin/true
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *controllers[] = {"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", NULL};
static char group[8][128];

static void put(const char *directory, const char *file, const char *value) {
	char path[256];
	snprintf(path, sizeof path, "%s/%s", directory, file);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, value, strlen(value)) < 0) err(1, "%s", path);
	close(fd);
}

static void copy(const char *controller, const char *file) {
	char path[256], value[256];
	snprintf(path, sizeof path, "/sys/fs/cgroup/%s/%s", controller, file);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, value, sizeof value - 1);
	if (n < 0) err(1, "%s", path);
	value[n] = 0;
	close(fd);
	put(group[2], file, value);
}

static void mnt(const char *type, const char *at, unsigned long flags, const char *data) {
	if (mount(type, at, type, flags, data)) err(1, "mount %s", at);
}

static void child(const char *rootfs, char **argv) {
	char at[256];
	/* By itself and through `tasks`, so that no process has to be held still for it. */
	for (int i = 0; controllers[i]; i++) put(group[i], "tasks", "0");
	if (unshare(CLONE_NEWCGROUP)) err(1, "unshare");
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL)) err(1, "slave");
	if (mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL)) err(1, "bind %s", rootfs);
	if (chdir(rootfs)) err(1, "chdir");
	const unsigned long quiet = MS_NOSUID | MS_NOEXEC | MS_NODEV;
	mnt("proc", "proc", 0, NULL);
	mnt("tmpfs", "dev", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
	mkdir("dev/pts", 0755);
	mnt("devpts", "dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
	mkdir("dev/shm", 0755);
	mnt("tmpfs", "dev/shm", quiet, "mode=1777,size=65536k");
	mkdir("dev/mqueue", 0755);
	mnt("mqueue", "dev/mqueue", quiet, NULL);
	mnt("sysfs", "sys", quiet | MS_RDONLY, NULL);
	mnt("tmpfs", "sys/fs/cgroup", quiet, "mode=755");
	for (int i = 0; controllers[i]; i++) {
		snprintf(at, sizeof at, "sys/fs/cgroup/%s", controllers[i]);
		mkdir(at, 0755);
		if (mount(group[i], at, NULL, MS_BIND, NULL)) err(1, "bind %s", at);
		if (mount(NULL, at, NULL, MS_BIND | MS_REMOUNT | quiet | MS_RDONLY, NULL)) err(1, "remount %s", at);
	}
	if (mount(NULL, "sys/fs/cgroup", NULL, MS_BIND | MS_REMOUNT | quiet | MS_RDONLY, NULL)) err(1, "remount");
	struct { const char *name; int major, minor; } nodes[] = {
		{"dev/null", 1, 3}, {"dev/zero", 1, 5}, {"dev/full", 1, 7}, {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0}};
	umask(0);
	for (int i = 0; i < 6; i++) mknod(nodes[i].name, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor));
	symlink("/proc/self/fd", "dev/fd");
	symlink("/proc/self/fd/0", "dev/stdin");
	symlink("/proc/self/fd/1", "dev/stdout");
	symlink("/proc/self/fd/2", "dev/stderr");
	symlink("pts/ptmx", "dev/ptmx");
	const char *protect[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
	for (int i = 0; i < 5; i++)
		if (!mount(protect[i], protect[i], NULL, MS_BIND | MS_REC, NULL))
			mount(NULL, protect[i], NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL);
	const char *files[] = {"proc/kcore", "proc/keys", "proc/latency_stats", "proc/timer_list", "proc/timer_stats", "proc/sched_debug"};
	for (int i = 0; i < 6; i++) mount("/dev/null", files[i], NULL, MS_BIND, NULL);
	const char *directories[] = {"proc/acpi", "proc/asound", "sys/firmware", "proc/scsi"};
	struct stat s;
	for (int i = 0; i < 4; i++)
		if (!stat(directories[i], &s)) mount("tmpfs", directories[i], "tmpfs", MS_RDONLY, NULL);
	if (syscall(SYS_pivot_root, ".", ".")) err(1, "pivot_root");
	if (umount2(".", MNT_DETACH)) err(1, "umount2");
	if (chdir("/")) err(1, "chdir /");
	if (mount(NULL, "/", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL)) err(1, "read-only /");
	sethostname("corten", 6);
	int socket_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	ioctl(socket_fd, SIOCSIFFLAGS, &lo);
	setsid();
	for (int i = 0; i < 41; i++)
		if (i != 5 && i != 10 && i != 29) prctl(PR_CAPBSET_DROP, i);
	struct { unsigned v; int p; } header = {0x20080522, 0};
	struct { unsigned e, p, i; } data[2] = {{0x20000420, 0x20000420, 0}, {0, 0, 0}};
	syscall(SYS_capset, &header, data);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	char *envp[] = {"PATH=/bin", NULL};
	execve(argv[0], argv, envp);
	err(127, "%s", argv[0]);
}

int main(int argc, char **argv) {
	if (argc < 3) errx(1, "usage: floor ROOTFS COMMAND...");
	for (int i = 0; controllers[i]; i++) {
		snprintf(group[i], sizeof group[i], "/sys/fs/cgroup/%s/floor-%d", controllers[i], getpid());
		if (mkdir(group[i], 0755)) err(1, "%s", group[i]);
	}
	copy("cpuset", "cpuset.cpus");
	copy("cpuset", "cpuset.mems");
	put(group[4], "devices.deny", "a");
	const char *rules[] = {"c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm"};
	for (int i = 0; i < 10; i++) put(group[4], "devices.allow", rules[i]);
	char unified[128];
	snprintf(unified, sizeof unified, "/sys/fs/cgroup/unified/floor-%d", getpid());
	mkdir(unified, 0755);
	int fd = open(unified, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct clone_args args = {
		.flags = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS | (fd < 0 ? 0 : CLONE_INTO_CGROUP),
		.exit_signal = SIGCHLD, .cgroup = fd};
	long pid = syscall(SYS_clone3, &args, sizeof args);
	if (pid < 0) err(1, "clone3");
	if (pid == 0) child(argv[1], argv + 2);
	int status;
	waitpid(pid, &status, 0);
	for (int i = 0; controllers[i]; i++) rmdir(group[i]);
	rmdir(unified);
	return WEXITSTATUS(status);
}
