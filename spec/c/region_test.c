/* The region: what its creator lays out, and what a reader accepts from a process that it does not trust. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../collectors/native/region.h"

static si__region *create(int *fd) {
    int error = -1;
    si__region *region = si__region_create(fd, &error);
    assert_non_null(region);
    assert_int_equal(error, 0);
    return region;
}

static void parts_lie_in_order_and_inside(void **state) {
    (void)state;
    int fd;
    si__region *region = create(&fd);
    assert_true(region->header_bytes >= sizeof(si__region));
    assert_true(region->slots_off >= region->header_bytes);
    assert_true(region->rings_off >= region->slots_off + SI__SLOT_COUNT * sizeof(si__slot));
    assert_true(region->instruments_off >= region->rings_off + (uint64_t)SI__SLOT_COUNT * SI__RING_BYTES);
    assert_true(region->buckets_off >= region->instruments_off + SI__INSTRUMENT_COUNT * sizeof(si__instrument));
    assert_true(region->unwind_off >= region->buckets_off + (uint64_t)SI__INSTRUMENT_COUNT * SI__BUCKET_COUNT * 4);
    assert_true(region->total_bytes >= region->unwind_off + SI__UNWIND_ARENA_BYTES);
    assert_int_equal(region->pid, getpid());
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, region->total_bytes);
    assert_true(st.st_blocks * 512 <= 64 * 1024); /* sparse: only touched pages cost memory */
    si__region_unmap(region);
    close(fd);
}

static void descriptor_is_high_and_not_inherited(void **state) {
    (void)state;
    int fd;
    si__region *region = create(&fd);
    assert_true(fd >= 128);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(ftruncate(fd, 4096), -1); /* sealed: a reader cannot be killed by a shrinking file */
    si__region_unmap(region);
    close(fd);
}

static void works_with_few_descriptors(void **state) {
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        struct rlimit few = {16, 16};
        int fd = -1, error = 0;
        setrlimit(RLIMIT_NOFILE, &few);
        si__region *region = si__region_create(&fd, &error);
        _exit(region && fd >= 0 && fd < 16 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void both_sides_see_the_same(void **state) {
    (void)state;
    int fd, error;
    si__region *probe = create(&fd), *runtime = si__region_map(fd, &error);
    assert_non_null(runtime);
    assert_ptr_not_equal(probe, runtime);
    si__region_set_cpu_mhz(runtime, 1234);
    assert_int_equal(probe->control.cpu_mhz, 1234);
    assert_int_equal(probe->control.generation, 1);
    atomic_store(&si__region_slot(probe, SI__SLOT_COUNT - 1)->tid, 77);
    assert_int_equal(si__region_slot(runtime, SI__SLOT_COUNT - 1)->tid, 77);
    si__region_ring(probe, SI__SLOT_COUNT - 1)[SI__RING_BYTES - 1] = 'x';
    assert_int_equal(si__region_ring(runtime, SI__SLOT_COUNT - 1)[SI__RING_BYTES - 1], 'x');
    atomic_store(&si__region_buckets(probe, SI__INSTRUMENT_COUNT - 1)[SI__BUCKET_COUNT - 1], 5);
    assert_int_equal(si__region_buckets(runtime, SI__INSTRUMENT_COUNT - 1)[SI__BUCKET_COUNT - 1], 5);
    si__region_unmap(runtime);
    si__region_unmap(probe);
    close(fd);
}

static void checked_layout_stays_what_it_was(void **state) {
    (void)state;
    int fd, error;
    si__region *probe = create(&fd), *runtime = si__region_map(fd, &error);
    assert_non_null(runtime);
    uint64_t slots_off = runtime->slots_off;
    probe->slots_off = ~0ull - 4096; /* a hostile process, after the check */
    probe->magic = 0;
    assert_int_equal(runtime->slots_off, slots_off);
    assert_int_equal(runtime->magic, SI__REGION_MAGIC);
    si__region_unmap(runtime);
    si__region_unmap(probe);
    close(fd);
}

static void every_wrong_layout_is_refused(void **state) {
    (void)state;
    int fd, error;
    si__region *region = create(&fd);
    uint64_t *words = (uint64_t *)(void *)region;
    for (size_t i = 0; i < 64 / sizeof *words; i++) {
        static const uint64_t wrong[] = {0, 1, 4096, ~0ull};
        for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
            uint64_t right = words[i];
            words[i] = wrong[k];
            assert_null(si__region_map(fd, &error));
            assert_int_equal(error, EINVAL);
            words[i] = right;
        }
    }
    si__region *mapped = si__region_map(fd, &error);
    assert_non_null(mapped);
    si__region_unmap(mapped);
    si__region_unmap(region);
    close(fd);
}

static void what_is_no_region_is_refused(void **state) {
    (void)state;
    int error = 0;
    assert_null(si__region_map(-1, &error));
    assert_int_equal(error, EINVAL);
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    assert_null(si__region_map(file, &error));
    close(file);
    /* Right in every word, but its size may still change. */
    int fd;
    si__region *region = create(&fd);
    int unsealed = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(unsealed >= 0);
    assert_int_equal(ftruncate(unsealed, (off_t)region->total_bytes), 0);
    assert_int_equal(pwrite(unsealed, region, 4096, 0), 4096);
    assert_null(si__region_map(unsealed, &error));
    close(unsealed);
    si__region_unmap(region);
    close(fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_lie_in_order_and_inside),    cmocka_unit_test(descriptor_is_high_and_not_inherited),
        cmocka_unit_test(works_with_few_descriptors),       cmocka_unit_test(both_sides_see_the_same),
        cmocka_unit_test(checked_layout_stays_what_it_was), cmocka_unit_test(every_wrong_layout_is_refused),
        cmocka_unit_test(what_is_no_region_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
