/* Every handler of the route table, by the file that has it. Workers' threads. */
#ifndef SI_SERVER_HANDLERS_H
#define SI_SERVER_HANDLERS_H

#include "request.h"

void si__handle_report(si__request *request); /* ingest.c */

void si__handle_session(si__request *request); /* account.c */
void si__handle_setup(si__request *request);
void si__handle_sign_in(si__request *request);
void si__handle_sign_in_link(si__request *request);
void si__handle_sign_out(si__request *request);
void si__handle_accept_invite(si__request *request);

void si__handle_password(si__request *request);

void si__handle_sessions(si__request *request); /* handle_sessions.c */
void si__handle_session_end(si__request *request);
void si__handle_invitations(si__request *request);
void si__handle_invitation_withdraw(si__request *request);

void si__handle_users(si__request *request); /* team.c */
void si__handle_invite(si__request *request);
void si__handle_user_change(si__request *request);
void si__handle_audit(si__request *request);

void si__handle_keys(si__request *request); /* key.c */
void si__handle_key_make(si__request *request);
void si__handle_key_revoke(si__request *request);

void si__handle_apps(si__request *request); /* handle_apps.c */
void si__handle_app_delete(si__request *request);
void si__handle_first_report(si__request *request);

void si__handle_sources(si__request *request); /* handle_sources.c */
void si__handle_rules(si__request *request);
void si__handle_versions(si__request *request);
void si__handle_collectors(si__request *request);

void si__handle_search(si__request *request);      /* handle_search.c */
void si__handle_movers(si__request *request);      /* movers.c */
void si__handle_bottlenecks(si__request *request); /* handle_bottlenecks.c */
void si__handle_bottleneck_tree(si__request *request);

void si__handle_retention(si__request *request); /* handle_settings.c */
void si__handle_retention_change(si__request *request);

void si__handle_charts(si__request *request); /* handle_charts.c */

void si__handle_channels(si__request *request); /* handle_channels.c */
void si__handle_channel_test(si__request *request);

void si__handle_import(si__request *request); /* handle_import.c */
void si__handle_source(si__request *request); /* handle_source.c */
void si__handle_source_files(si__request *request);
void si__handle_source_upload(si__request *request);
void si__handle_source_delete(si__request *request);

void si__handle_snapshots(si__request *request); /* handle_snapshots.c */
void si__handle_snapshot(si__request *request);
void si__handle_snapshot_make(si__request *request);
void si__handle_snapshot_delete(si__request *request);

void si__handle_profiles(si__request *request); /* handle_profiles.c */
void si__handle_tree(si__request *request);     /* handle_tree.c */
void si__handle_error_tree(si__request *request);
void si__handle_trend(si__request *request);    /* handle_trend.c */
void si__handle_top(si__request *request);      /* handle_top.c */
void si__handle_sandwich(si__request *request); /* handle_sandwich.c */
void si__handle_export(si__request *request);   /* handle_export.c */

void si__handle_overview(si__request *request); /* handle_overview.c */
void si__handle_segments(si__request *request); /* handle_series.c */
void si__handle_errors(si__request *request);
void si__handle_health(si__request *request);

void si__handle_alerts(si__request *request); /* handle_alerts.c */
void si__handle_alert_ack(si__request *request);
void si__handle_alert_unack(si__request *request);
void si__handle_alert(si__request *request);
void si__handle_deliveries(si__request *request);
void si__handle_silences(si__request *request);
void si__handle_silence_make(si__request *request);
void si__handle_silence_end(si__request *request);

void si__handle_annotations(si__request *request); /* handle_annotations.c */
void si__handle_history(si__request *request);     /* handle_history.c */
void si__handle_annotation_make(si__request *request);
void si__handle_annotation_delete(si__request *request);

void si__handle_prometheus(si__request *request); /* handle_prometheus.c */
void si__handle_openapi(si__request *request);    /* handle_openapi.c */

void si__handle_self_history(si__request *request); /* minute.c */

void si__handle_self(si__request *request); /* handle_self.c */
void si__handle_metrics(si__request *request);

#endif
