/* SPDX-License-Identifier: Apache-2.0 */
/* How the lanes' helping threads are started and woken. */
#include "partition/worker.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "sluice/base/log.h"

int worker_start(pthread_t *thread, void *(*run)(void *), void *arg, const cpu_set_t *cpus)
{
	pthread_attr_t attr;
	sigset_t all, old;
	cpu_set_t any;
	int rc;

	CPU_ZERO(&any);
	for (int i = 0; i < CPU_SETSIZE; i++)
		CPU_SET(i, &any);
	sigfillset(&all);
	rc = pthread_attr_init(&attr);
	if (rc != 0)
		return -rc;
	(void)pthread_attr_setaffinity_np(&attr, sizeof(any), cpus ? cpus : &any);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(thread, &attr, run, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -rc;
}

void worker_wake(int fd)
{
	const uint64_t one = 1;

	/* EAGAIN: the counter is full, so the reader is woken already. */
	if (write(fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		sl_log(ERR, partition, "write eventfd: %s", strerror(errno));
}
