#ifndef KP_COMMANDS_H
#define KP_COMMANDS_H

/*
 * One function for each subcommand; argv[0] is its name. They return the exit
 * status: 0 ok, 1 a negative answer, 2 usage or bad input, 3 failure at run time.
 */
int kp_cmd_run(int argc, char **argv);
int kp_cmd_status(int argc, char **argv);
int kp_cmd_drain(int argc, char **argv);
int kp_cmd_state(int argc, char **argv);
int kp_cmd_probes(int argc, char **argv);
int kp_cmd_render(int argc, char **argv);
int kp_cmd_check_config(int argc, char **argv);
int kp_cmd_cleanup(int argc, char **argv);
int kp_cmd_version(int argc, char **argv);

#endif
