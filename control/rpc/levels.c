/* SPDX-License-Identifier: Apache-2.0 */
/* Log levels of both processes. */
#include <errno.h>

#include "sluice/base/log.h"

#include "methods.h"
#include "value.h"

static json_t *own_levels(void)
{
	json_t *levels = json_object();

	for (unsigned i = 0; i < SL_LOGM_NR; i++) {
		uint8_t level = atomic_load_explicit(&sl_log_levels[i], memory_order_relaxed);

		value_set(&levels, sl_log_module_name((enum sl_log_module)i),
		          json_string(sl_log_level_name((enum sl_log_level)level)));
	}
	return levels;
}

static bool is_asked(const struct rpc_call *call, const char *process)
{
	const char *only = rpc_call_str(call, "process");

	return !only || strcmp(only, process) == 0;
}

static void join(struct rpc_call *call, int error, json_t *answer)
{
	json_t *levels = json_object_get(answer, "levels");
	json_t *all = json_object();

	/* Who asked for the data plane alone is told; else what could be done is shown. */
	if (error != 0 && !is_asked(call, "control")) {
		json_decref(all);
		query_failed(call, error, answer);
		return;
	}
	if (is_asked(call, "control"))
		value_set(&all, "control", own_levels());
	value_set(&all, "dataplane", error == 0 && levels ? json_incref(levels) : json_null());
	rpc_call_result(call, all);
}

void rpc_log_level(struct rpc_call *call)
{
	const char *process = rpc_call_str(call, "process");
	const char *module = rpc_call_str(call, "module");
	const char *level = rpc_call_str(call, "level");
	json_t *params = NULL;
	int rc = 0;

	if (process && strcmp(process, "control") != 0 && strcmp(process, "dataplane") != 0) {
		rpc_call_error(call, RPC_INVALID_PARAMS, "\"process\" is control or dataplane");
		return;
	}
	if (!module != !level) {
		rpc_call_error(call, RPC_INVALID_PARAMS, "\"module\" and \"level\" go together");
		return;
	}
	if (module && is_asked(call, "control"))
		rc = sl_log_set_level(module, level);
	if (rc < 0) {
		rpc_call_error(call, RPC_INVALID_PARAMS, "there is no %s \"%.50s\"",
		               rc == -ENOENT ? "module" : "level", rc == -ENOENT ? module : level);
		return;
	}
	if (!is_asked(call, "dataplane")) {
		rpc_call_result(call, json_pack("{s:o}", "control", own_levels()));
		return;
	}
	if (module)
		params = json_pack("{s:s, s:s}", "module", module, "level", level);
	query_host(call, "log.level", params, join);
}
