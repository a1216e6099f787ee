//! Which system calls a container may make: those that Docker lets a container make by default, so that images which run there run here.
//! All others are answered with `EPERM`. Pure.
//!
//! What is left out is what reaches beyond a container, or has been the way out of one: mounts, namespaces, kernel modules and keys, the
//! clock, tracing of the kernel, `io_uring`, `userfaultfd` and the like.

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};

/// What an unknown or forbidden call is answered with.
const EPERM: u32 = 1;
/// What programs take as the sign to do without `clone3`, whose arguments no filter can see.
const ENOSYS: u32 = 38;

/// Allowed whatever their arguments. Names that an architecture does not have are passed over.
const ALLOWED: &str = "
accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32 chroot clock_adjtime clock_adjtime64
clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect
copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat
fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64
fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat getcpu getcwd
getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid
getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit get_robust_list getrusage getsid getsockname getsockopt
get_thread_area gettid gettimeofday getuid getuid32 getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel ioctl
io_destroy io_getevents io_pgetevents io_pgetevents_time64 ioprio_get ioprio_set io_setup io_submit ipc kill landlock_add_rule
landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listxattr llistxattr _llseek lremovexattr lseek
lsetxattr lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2
mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
mq_unlink mremap msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat _newselect open openat
openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv
preadv2 prlimit64 process_mrelease process_vm_readv process_vm_writev pselect6 pselect6_time64 ptrace pwrite64 pwritev pwritev2 read
readahead readlink readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr rename renameat renameat2
restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_getaffinity sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min
sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler
sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto setfsgid
setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid
setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit set_robust_list setsid setsockopt set_thread_area set_tid_address setuid
setuid32 setxattr shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall socketpair splice stat
stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete
timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64
timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat utime utimensat utimensat_time64
utimes vfork vmsplice wait4 waitid waitpid write writev
";

/// Allowed besides where the machine is an x86-64 one, and where it is an arm64 one.
const ALLOWED_ON_X86_64: &str = "arch_prctl modify_ldt";
const ALLOWED_ON_ARM64: &str = "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls";

/// `AF_VSOCK`, the sockets to the hypervisor of a virtual machine.
const VSOCK: u64 = 40;

/// Execution domains that are no way around anything: Linux, with and without `UNAME26` and `PER_LINUX32`; and asking for the present one.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The flags of `clone` that make namespaces.
const NEW_NAMESPACES: u64 = 0x7e02_0000;

/// What a container may ask of the kernel, on this machine.
pub(super) fn filter() -> Result<LinuxSeccomp, OciSpecError> {
    let (architectures, more) = if cfg!(target_arch = "aarch64") {
        (vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm], ALLOWED_ON_ARM64)
    } else {
        // Not x32: nobody has programs for it, and `runc` takes 5 to 10 ms of each start for an instruction set.
        (vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86], ALLOWED_ON_X86_64)
    };
    let names = ALLOWED.split_whitespace().chain(more.split_whitespace());
    let mut calls = vec![
        allow(names, None)?,
        allow(
            ["socket"],
            Some(argument(VSOCK, None, LinuxSeccompOperator::ScmpCmpNe)?),
        )?,
        allow(
            ["clone"],
            // None of these bits is set.
            Some(argument(
                NEW_NAMESPACES,
                Some(0),
                LinuxSeccompOperator::ScmpCmpMaskedEq,
            )?),
        )?,
        LinuxSyscallBuilder::default()
            .names(vec!["clone3".to_owned()])
            .action(LinuxSeccompAction::ScmpActErrno)
            .errno_ret(ENOSYS)
            .build()?,
    ];
    for domain in PERSONALITIES {
        let exactly = argument(domain, None, LinuxSeccompOperator::ScmpCmpEq)?;
        calls.push(allow(["personality"], Some(exactly))?);
    }
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(EPERM)
        .architectures(architectures)
        .syscalls(calls)
        .build()
}

fn allow<'a>(
    names: impl IntoIterator<Item = &'a str>,
    first: Option<LinuxSeccompArg>,
) -> Result<LinuxSyscall, OciSpecError> {
    let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    let call = LinuxSyscallBuilder::default()
        .names(names)
        .action(LinuxSeccompAction::ScmpActAllow);
    match first {
        Some(argument) => call.args(vec![argument]).build(),
        None => call.build(),
    }
}

/// A condition on the first argument.
fn argument(value: u64, second: Option<u64>, operator: LinuxSeccompOperator) -> Result<LinuxSeccompArg, OciSpecError> {
    let condition = LinuxSeccompArgBuilder::default()
        .index(0usize)
        .value(value)
        .op(operator);
    match second {
        Some(second) => condition.value_two(second).build(),
        None => condition.build(),
    }
}
