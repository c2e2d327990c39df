/*
 * Starts the shop, or with --inventory its second service, observed by the si runtime.
 *
 *   shop --inventory [--port N]
 *   shop [--port N] [--database FILE] [--inventory-url URL] [--unobserved]
 *
 * Port 0 takes a free one. "listening on http://..." is printed when requests are answered. Where reports go and how
 * the program is observed comes from the SI_* environment variables. Ends on SIGINT and SIGTERM.
 */
#include <curl/curl.h>
#include <errno.h>
#include <getopt.h>
#include <si/si.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shop.h"

typedef struct command_line {
    int inventory, unobserved;
    uint16_t port;
    const char *database, *inventory_url;
} command_line;

static int parse(int argc, char **argv, command_line *out) {
    static const struct option known[] = {
        {"inventory", no_argument, NULL, 'i'},           {"unobserved", no_argument, NULL, 'u'},
        {"port", required_argument, NULL, 'p'},          {"database", required_argument, NULL, 'd'},
        {"inventory-url", required_argument, NULL, 's'}, {NULL, 0, NULL, 0},
    };
    *out = (command_line){.database = "shop.db", .inventory_url = "http://127.0.0.1:8688"};
    for (int option; (option = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (option) {
        case 'i':
            out->inventory = 1;
            break;
        case 'u':
            out->unobserved = 1;
            break;
        case 'p':
            out->port = (uint16_t)strtoul(optarg, NULL, 10);
            break;
        case 'd':
            out->database = optarg;
            break;
        case 's':
            out->inventory_url = optarg;
            break;
        default:
            return -1;
        }
    }
    return optind == argc ? 0 : -1;
}

static si_runtime *observe(const command_line *arguments) {
    si_options options;
    si_runtime *runtime = NULL;
    if (arguments->unobserved) return NULL;
    si_options_init(&options);
    options.app_name = arguments->inventory ? "shop-inventory" : "shop";
    options.app_version = "1.4.2";
    int error = si_runtime_open(&runtime, &options);
    if (error) fprintf(stderr, "shop: not observed: %s\n", si_strerror(error));
    return runtime;
}

static int serve(const command_line *arguments, const sigset_t *until) {
    shop_route_fn route = arguments->inventory ? shop_inventory_route : shop_route;
    struct MHD_Daemon *server = shop_server_start(arguments->port, arguments->inventory ? 2 : SHOP_THREADS, route);
    if (!server) {
        fprintf(stderr, "shop: cannot listen on port %u: %s\n", arguments->port, strerror(errno));
        return 1;
    }
    printf("listening on http://127.0.0.1:%u\n", shop_server_port(server));
    fflush(stdout);
    int received;
    sigwait(until, &received);
    shop_server_stop(server);
    return 0;
}

int main(int argc, char **argv) {
    command_line arguments;
    if (parse(argc, argv, &arguments)) {
        fprintf(stderr, "usage: %s [--inventory] [--port N] [--database FILE] [--inventory-url URL] [--unobserved]\n",
                argv[0]);
        return 2;
    }
    /* Every thread inherits the mask: only the sigwait below takes these. */
    sigset_t until;
    sigemptyset(&until);
    sigaddset(&until, SIGINT);
    sigaddset(&until, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &until, NULL);
    signal(SIGPIPE, SIG_IGN);
    curl_global_init(CURL_GLOBAL_DEFAULT);

    int status = 1;
    si_runtime *runtime = observe(&arguments);
    char outbox[512];
    snprintf(outbox, sizeof outbox, "%s.letters", arguments.database);
    if (!arguments.inventory && (shop_catalog_create(arguments.database) || shop_letters_start(outbox))) {
        fprintf(stderr, "shop: cannot create %s or %s\n", arguments.database, outbox);
    } else {
        shop_stock_use(arguments.inventory_url);
        status = serve(&arguments, &until);
    }
    shop_letters_stop();
    si_runtime_close(runtime, 3000);
    shop_orders_free();
    curl_global_cleanup();
    return status;
}
