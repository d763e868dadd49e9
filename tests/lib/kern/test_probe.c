/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel and the privileges allow, and what every call does without a program. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "netns.h"
#include "sluice/kern/loader.h"

#define NOBODY 65534

Test(probe, gives_a_reason_and_a_fix_exactly_where_something_is_missing)
{
	struct sl_kern_probe probe;

	sl_kern_probe(&probe);
	for (int i = 0; i < SL_KERN_FEATURE_NR; i++) {
		bool is_ok = probe.feature[i].state == SL_KERN_OK;

		cr_assert_eq(is_ok, probe.feature[i].why.cause[0] == '\0');
		cr_assert_eq(is_ok, probe.feature[i].why.fix[0] == '\0');
		cr_assert_str_neq(sl_kern_feature_name(i), "unknown");
		cr_assert_str_neq(sl_kern_state_name(probe.feature[i].state), "unknown");
	}
}

static void become_nobody(void)
{
	if (geteuid() != 0)
		cr_skip_test("not root, so there is no privilege to drop");
	cr_assert(setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0);
}

Test(probe, names_the_capabilities_that_an_unprivileged_process_lacks)
{
	struct sl_kern_probe probe;

	netns_require(SL_KERN_SK_LOOKUP);
	netns_require(SL_KERN_XDP);
	become_nobody();
	sl_kern_probe(&probe);
	cr_assert_eq(probe.feature[SL_KERN_SK_LOOKUP].state, SL_KERN_DENIED);
	cr_assert(strstr(probe.feature[SL_KERN_SK_LOOKUP].why.cause, "cap_bpf,cap_net_admin"));
	cr_assert(strstr(probe.feature[SL_KERN_SK_LOOKUP].why.fix,
	                 "setcap cap_bpf,cap_net_admin+ep /"));
	cr_assert_eq(probe.feature[SL_KERN_XDP].state, SL_KERN_DENIED);
	cr_assert(strstr(probe.feature[SL_KERN_XDP].why.cause, "cap_perfmon"));
	cr_assert_eq(probe.feature[SL_KERN_BTF].state, SL_KERN_OK);
}

Test(probe, open_without_privilege_fails_with_reason_and_leaves_the_handle_alone)
{
	struct sl_steer *steer = (void *)&steer;
	struct sl_ingress *ingress = (void *)&ingress;
	struct sl_kern_reason why;

	netns_require(SL_KERN_SK_LOOKUP);
	netns_require(SL_KERN_XDP);
	become_nobody();
	cr_assert_eq(sl_steer_open(&steer, &why), -EPERM);
	cr_assert_eq((void *)steer, (void *)&steer);
	cr_assert(strstr(why.cause, "sk_lookup steering needs cap_bpf,cap_net_admin"), "%s",
	          why.cause);
	cr_assert(strstr(why.fix, "AmbientCapabilities"), "%s", why.fix);
	cr_assert_eq(sl_ingress_open(&ingress, "lo", NULL, &why), -EPERM);
	cr_assert_eq((void *)ingress, (void *)&ingress);
	cr_assert(strstr(why.cause, "cap_perfmon"), "%s", why.cause);
}

Test(probe, a_missing_steer_answers_enotsup)
{
	struct sockaddr_in local = {.sin_family = AF_INET, .sin_port = htons(9092)};
	struct sl_steer_port port = {.kind = SL_STEER_BOOTSTRAP};
	struct sl_steer_move move = {0, 1};
	struct sl_steer_stats stats;

	cr_assert_eq(sl_steer_set_port(NULL, (void *)&local, &port), -ENOTSUP);
	cr_assert_eq(sl_steer_clear_port(NULL, (void *)&local), -ENOTSUP);
	cr_assert_eq(sl_steer_set_listener(NULL, 0, 0), -ENOTSUP);
	cr_assert_eq(sl_steer_set_active(NULL, 1), -ENOTSUP);
	cr_assert_eq(sl_steer_redirect(NULL, &move), -ENOTSUP);
	cr_assert_eq(sl_steer_stats(NULL, &stats), -ENOTSUP);
	sl_steer_close(NULL);
}

Test(probe, a_missing_ingress_answers_enotsup)
{
	struct sl_ingress_opts opts = {.syn_rate = 1};
	struct sl_ingress_ban_info ban;
	struct sl_ingress_stats stats;

	cr_assert_eq(sl_ingress_set_port(NULL, 9092), -ENOTSUP);
	cr_assert_eq(sl_ingress_clear_port(NULL, 9092), -ENOTSUP);
	cr_assert_eq(sl_ingress_ban(NULL, "10.0.0.1"), -ENOTSUP);
	cr_assert_eq(sl_ingress_unban(NULL, "10.0.0.1"), -ENOTSUP);
	cr_assert_eq(sl_ingress_bans(NULL, &ban, 1), -ENOTSUP);
	cr_assert_eq(sl_ingress_set_rate(NULL, &opts), -ENOTSUP);
	cr_assert_eq(sl_ingress_stats(NULL, &stats), -ENOTSUP);
	cr_assert_str_eq(sl_ingress_mode_name(NULL), "off");
	sl_ingress_close(NULL);
}
