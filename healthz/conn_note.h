#ifndef HZ_CONN_NOTE_H
#define HZ_CONN_NOTE_H

struct conn;
struct hz_req;

/*
 * What is remembered of a connection, in its port's numbers and in the history (health-and-probes
 * B.10): each of its answers as a probe, or the connection itself if it had none.
 */
void hz_note_request(struct conn *c, const struct hz_req *req);	/* while the request is there */
void hz_note_answer(struct conn *c);	/* c->out, which has left or is about to */
void hz_note_end(struct conn *c);	/* once */

#endif
