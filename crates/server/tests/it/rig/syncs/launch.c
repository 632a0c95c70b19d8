/* launch CALL,CALL... MARK.so PROGRAM...: runs PROGRAM, whose system calls of these names return 0 and do nothing, unless
   they come from libc's functions, to which MARK.so (mark.c) gives a second argument that says so. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct {
    const char *name;
    int number;
} CALLS[] = {
    {"fsync", SYS_fsync},
    {"fdatasync", SYS_fdatasync},
    {"sync_file_range", SYS_sync_file_range},
    {"syncfs", SYS_syncfs},
    {"msync", SYS_msync},
};
enum { KNOWN = sizeof CALLS / sizeof *CALLS };

static int number_of(const char *name) {
    for (int i = 0; i < KNOWN; i++)
        if (!strcmp(CALLS[i].name, name)) return CALLS[i].number;
    fprintf(stderr, "launch: unknown call %s\n", name);
    exit(2);
}

static void drop(char *names) {
    struct sock_filter filter[KNOWN + 6];
    int dropped[KNOWN], count = 0, length = 0;
    for (char *name = strtok(names, ","); name && count < KNOWN; name = strtok(NULL, ","))
        dropped[count++] = number_of(name);
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (int i = 0; i < count; i++)
        filter[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, dropped[i], count - i, 0);
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1]));
    filter[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MARK, 1, 0);
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 0);
    filter[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {length, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
        perror("launch: seccomp");
        exit(2);
    }
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    setenv("LD_PRELOAD", argv[2], 1);
    drop(argv[1]);
    execvp(argv[3], argv + 3);
    perror("launch: exec");
    return 2;
}
