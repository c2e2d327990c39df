/*
 * CSV (RFC 4180) for spreadsheets: quoted where needed, and no cell that a spreadsheet would take for a formula. One
 * owner.
 */
#ifndef SI_SERVER_CSV_H
#define SI_SERVER_CSV_H

#include <stdint.h>
#include <stdio.h>

void si__csv_text(FILE *out, int first, const char *text); /* first: begins the line */
void si__csv_number(FILE *out, int first, double value);   /* shortest that reads back; empty when not finite */
void si__csv_time(FILE *out, int64_t time_ms);             /* two cells, first of the line: ISO 8601 in UTC, and ms */
void si__csv_end(FILE *out);                               /* of the line */

#endif
