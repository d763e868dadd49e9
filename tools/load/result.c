/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of what the threads counted, and their three forms: JSON, a table, a line of progress. */
#include "result.h"

static const struct {
	const char *name;
	double q;
} quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999}};

void result_merge(struct result *into, const struct result *from)
{
	into->requests += from->requests;
	into->records += from->records;
	into->bytes += from->bytes;
	into->errors += from->errors;
	into->retries += from->retries;
	into->opened += from->opened;
	into->failed += from->failed;
	into->last_ns = SL_MAX(into->last_ns, from->last_ns);
	into->opened_ns = SL_MAX(into->opened_ns, from->opened_ns);
	into->verify.checked += from->verify.checked;
	into->verify.lost += from->verify.lost;
	into->verify.duplicated += from->verify.duplicated;
	into->verify.reordered += from->verify.reordered;
	into->verify.corrupt += from->verify.corrupt;
	sl_hist_merge(&into->latency_ns, &from->latency_ns);
	sl_hist_merge(&into->connect_ns, &from->connect_ns);
}

double result_cpu_s(const struct timeval *from, const struct timeval *to)
{
	return (double)(to->tv_sec - from->tv_sec) + (double)(to->tv_usec - from->tv_usec) / 1e6;
}

bool result_is_violated(const struct result *r)
{
	const struct verify_counts *v = &r->verify;

	return v->lost || v->duplicated || v->reordered || v->corrupt;
}

static double per_second(double count, const struct result_frame *f)
{
	return f->seconds > 0 ? count / f->seconds : 0;
}

static double mean_us(const struct sl_hist *h)
{
	return h->count ? (double)h->sum / (double)h->count / 1e3 : 0;
}

static double quantile_us(const struct sl_hist *h, double q)
{
	return (double)sl_hist_quantile(h, q) / 1e3;
}

static void put_latency(struct sl_buf *b, const char *name, const struct sl_hist *h)
{
	sl_buf_printf(b, "\"%s\":{", name);
	for (size_t i = 0; i < SL_ARRAY_SIZE(quantiles); i++)
		sl_buf_printf(b, "\"%s\":%.1f,", quantiles[i].name, quantile_us(h, quantiles[i].q));
	sl_buf_printf(b, "\"max\":%.1f,\"mean\":%.1f}", (double)h->max / 1e3, mean_us(h));
}

/* A name of a topic is what a user typed. */
static void put_string(struct sl_buf *b, const char *text)
{
	sl_buf_put_u8(b, '"');
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x20 || c == '"' || c == '\\')
			sl_buf_printf(b, "\\u%04x", c);
		else
			sl_buf_put_u8(b, c);
	}
	sl_buf_put_u8(b, '"');
}

static void put_settings(struct sl_buf *b, const struct result_frame *f)
{
	const struct options *o = f->opts;

	sl_buf_printf(b, "{\"mode\":\"%s\",\"topic\":", options_mode_name(o->mode));
	put_string(b, o->topic);
	sl_buf_printf(b,
	              ",\"connections\":%lld,\"partitions\":%lld,\"threads\":%lld,"
	              "\"record_bytes\":%lld,\"batch_bytes\":%lld,\"acks\":%lld,"
	              "\"compression\":\"%s\",\"rate\":%.15g,",
	              (long long)f->connections, (long long)f->partitions, (long long)o->threads,
	              (long long)o->record_bytes, (long long)o->batch_bytes, (long long)o->acks,
	              sl_codec_name(o->codec), o->rate);
}

void result_json(struct sl_buf *b, const struct result *r, const struct result_frame *f)
{
	const struct verify_counts *v = &r->verify;

	put_settings(b, f);
	sl_buf_printf(b,
	              "\"seconds\":%.3f,\"records\":%llu,\"records_s\":%.1f,\"bytes\":%llu,"
	              "\"mb_s\":%.3f,\"requests\":%llu,\"requests_s\":%.1f,\"errors\":%llu,"
	              "\"retries\":%llu,",
	              f->seconds, (unsigned long long)r->records, per_second((double)r->records, f),
	              (unsigned long long)r->bytes, per_second((double)r->bytes / 1e6, f),
	              (unsigned long long)r->requests, per_second((double)r->requests, f),
	              (unsigned long long)r->errors, (unsigned long long)r->retries);
	sl_buf_printf(b,
	              "\"verify\":{\"checked\":%llu,\"lost\":%llu,\"duplicated\":%llu,"
	              "\"reordered\":%llu,\"corrupt\":%llu},",
	              (unsigned long long)v->checked, (unsigned long long)v->lost,
	              (unsigned long long)v->duplicated, (unsigned long long)v->reordered,
	              (unsigned long long)v->corrupt);
	put_latency(b, "latency_us", &r->latency_ns);
	sl_buf_printf(b, ",\"cpu_user_s\":%.3f,\"cpu_system_s\":%.3f,\"cores_busy\":%.3f",
	              f->cpu_user_s, f->cpu_system_s,
	              per_second(f->cpu_user_s + f->cpu_system_s, f));
	if (f->opts->mode == LOAD_CONNECTIONS) {
		sl_buf_printf(b, ",\"opened\":%llu,\"failed\":%llu,\"connects_s\":%.1f,",
		              (unsigned long long)r->opened, (unsigned long long)r->failed,
		              f->connects_s);
		put_latency(b, "connect_us", &r->connect_ns);
	}
	sl_buf_printf(b, "}\n");
}

static const char *latency_of(const struct options *o)
{
	switch (o->mode) {
	case LOAD_PRODUCE:
		return o->rate > 0 ? "due to acknowledged" : "request to answer";
	case LOAD_CONSUME:
		return "fetch to answer";
	case LOAD_E2E:
		return "due to consumed";
	default:
		return "ping to answer";
	}
}

static void put_row(struct sl_buf *b, const char *name, const struct sl_hist *h)
{
	sl_buf_printf(b, "%-22s", name);
	for (size_t i = 0; i < SL_ARRAY_SIZE(quantiles); i++)
		sl_buf_printf(b, " %10.1f", quantile_us(h, quantiles[i].q));
	sl_buf_printf(b, " %10.1f %10.1f\n", (double)h->max / 1e3, mean_us(h));
}

static void put_heads(struct sl_buf *b)
{
	sl_buf_printf(b, "\n%-22s", "latency, us");
	for (size_t i = 0; i < SL_ARRAY_SIZE(quantiles); i++)
		sl_buf_printf(b, " %10s", quantiles[i].name);
	sl_buf_printf(b, " %10s %10s\n", "max", "mean");
}

void result_table(struct sl_buf *b, const struct result *r, const struct result_frame *f)
{
	const struct verify_counts *v = &r->verify;
	const struct options *o = f->opts;

	sl_buf_printf(b, "%s: %.1f s, %lld connections, %lld partitions, %lld threads\n\n",
	              options_mode_name(o->mode), f->seconds, (long long)f->connections,
	              (long long)f->partitions, (long long)o->threads);
	if (o->mode != LOAD_CONNECTIONS) {
		sl_buf_printf(b, "%-22s %14.0f /s %16llu\n", "records",
		              per_second((double)r->records, f), (unsigned long long)r->records);
		sl_buf_printf(b, "%-22s %14.1f /s %16.1f\n", "MB",
		              per_second((double)r->bytes / 1e6, f), (double)r->bytes / 1e6);
	} else {
		sl_buf_printf(b, "%-22s %14.0f /s %16llu\n", "connections opened", f->connects_s,
		              (unsigned long long)r->opened);
		sl_buf_printf(b, "%-22s %17s %16llu\n", "failed", "",
		              (unsigned long long)r->failed);
	}
	sl_buf_printf(b, "%-22s %14.0f /s %16llu\n", "requests", per_second((double)r->requests, f),
	              (unsigned long long)r->requests);
	sl_buf_printf(b, "%-22s %17s %16llu\n", "errors", "", (unsigned long long)r->errors);
	sl_buf_printf(b, "%-22s %17s %16llu\n", "retries", "", (unsigned long long)r->retries);
	sl_buf_printf(b, "%-22s %14.2f\n", "cores busy (client)",
	              per_second(f->cpu_user_s + f->cpu_system_s, f));
	if (o->is_verifying && o->mode != LOAD_PRODUCE)
		sl_buf_printf(b,
		              "%-22s %llu checked, %llu lost, %llu duplicated, %llu reordered, "
		              "%llu corrupt\n",
		              "verify", (unsigned long long)v->checked, (unsigned long long)v->lost,
		              (unsigned long long)v->duplicated, (unsigned long long)v->reordered,
		              (unsigned long long)v->corrupt);
	put_heads(b);
	put_row(b, latency_of(o), &r->latency_ns);
	if (o->mode == LOAD_CONNECTIONS)
		put_row(b, "connect", &r->connect_ns);
}

void result_progress(struct sl_buf *b, const struct result *r, double seconds, double since_start_s)
{
	double per = seconds > 0 ? seconds : 1;

	sl_buf_printf(b,
	              "%7.1f s %11.0f records/s %9.1f MB/s %9.0f requests/s  p50 %8.1f us  "
	              "p99 %9.1f us  errors %llu\n",
	              since_start_s, (double)r->records / per, (double)r->bytes / 1e6 / per,
	              (double)r->requests / per, quantile_us(&r->latency_ns, 0.5),
	              quantile_us(&r->latency_ns, 0.99), (unsigned long long)r->errors);
}
